//! The README shows the very files that are run and tested.

use kmsnotif_jobs::{Kind, schema};

#[test]
fn the_readme_shows_every_example_as_it_is() {
    let readme = include_str!("../README.md");
    for kind in Kind::ALL {
        assert!(readme.contains(schema::example_json(kind)), "jobs/README.md does not show examples/job/{kind}.json");
    }
    let programs = [
        include_str!("../examples/redis-cli/enqueue.sh"),
        include_str!("../examples/python/enqueue.py"),
        include_str!("../examples/python/events.py"),
        include_str!("../examples/node/enqueue.mjs"),
        include_str!("../examples/java/Enqueue.java"),
        include_str!("../examples/csharp/Program.cs"),
        include_str!("../examples/php/enqueue.php"),
    ];
    for program in programs {
        assert!(
            readme.contains(program),
            "jobs/README.md shows another version of: {}",
            program.lines().next().unwrap()
        );
    }
}
