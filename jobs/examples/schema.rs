//! Writes the JSON Schema of every kind into `jobs/schema/`.

use std::path::Path;

use kmsnotif_jobs::{Kind, schema};

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    std::fs::create_dir_all(&folder)?;
    for kind in Kind::ALL {
        std::fs::write(folder.join(format!("{kind}.json")), schema::document(kind))?;
    }
    Ok(())
}
