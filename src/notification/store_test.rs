//! The same as `reservation_test.rs`, through the real store: any sequence of batches, status events, grants and
//! crashes at any moment leaves a ledger that adds up, and every reservation ended once.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rust_decimal::Decimal;
use sqlx::PgPool;

use super::admit::{self, Admission};
use super::batch::Write as _;
use super::lifecycle::Answer;
use super::world_test::{Fate, Happening, JOBS, Part, World, set_price};
use super::writer::{Step, Written};
use crate::credit::ledger;
use crate::queue::Outcome;
use crate::whatsapp::{Class, Scope, SendError};

const CASES: usize = 16;

fn happening() -> impl Strategy<Value = Happening> {
    let polls = 0..60_usize;
    let fate = prop_oneof![
        3 => Just(Fate::Committed),
        2 => polls.clone().prop_map(Fate::Crashed),
        2 => polls.prop_map(Fate::CrashedAndRepeated),
        1 => Just(Fate::Repeated),
    ];
    let failed = |class| Answer::Failed(SendError::new(class, "refused"));
    let answer = prop::sample::select(vec![
        Answer::Accepted { wamid: "wamid.1".to_owned() },
        Answer::Accepted { wamid: "wamid.1".to_owned() },
        failed(Class::Rejected),
        failed(Class::Throttled(Scope::Number)),
        failed(Class::Unavailable),
        failed(Class::Unknown),
        Answer::Unrendered,
    ]);
    let admit = (0..JOBS, prop::bool::weighted(0.2)).prop_map(|(of, taken_over)| Part::Admit { of, taken_over });
    let settle = (0..JOBS, answer).prop_map(|(of, answer)| Part::Settle { of, answer });
    let batch = prop::collection::vec(prop_oneof![admit, settle], 1..8);
    let status = prop::sample::select(vec!["sent", "delivered", "read", "failed"]);
    let pricing = prop::sample::select(vec![None, Some("regular"), Some("free_customer_service")]);
    let reports = prop::collection::vec((0..JOBS, status, pricing), 1..6);
    prop_oneof![
        6 => (batch, fate.clone()).prop_map(|(parts, fate)| Happening::Batch(parts, fate)),
        3 => (reports, fate.clone()).prop_map(|(reports, fate)| Happening::Report(reports, fate)),
        1 => (prop::sample::select(vec!["STOP", "START"]), 0..9_i64, fate)
            .prop_map(|(word, at, fate)| Happening::Keyword(word, at, fate)),
        1 => (-150_000_000..250_000_000_i64).prop_map(Happening::Adjust),
        1 => (1..300_000_000_i64).prop_map(Happening::Grant),
        1 => Just(Happening::Time),
        1 => prop::bool::weighted(0.7).prop_map(Happening::Switch),
    ]
}

/// A job that waits is due again, and a copy of it is read first and shares its batch: the copy must not end it.
#[sqlx::test]
async fn a_copy_in_the_same_batch_does_not_end_a_job_that_is_due(pool: PgPool) {
    set_price(&pool).await;
    let world = World::new(&pool, 0).await;
    world.take(&Happening::Grant(250_000_000)).await;
    let admit = Part::Admit { of: 0, taken_over: false };
    let refused = Part::Settle { of: 0, answer: Answer::Failed(SendError::new(Class::Unavailable, "refused")) };
    for part in [admit.clone(), refused] {
        world.take(&Happening::Batch(vec![part], Fate::Committed)).await;
    }
    world.take(&Happening::Time).await;
    let copies = async |hash: [u8; 32]| match world.step(&admit).await {
        Step::Admit(request) => Step::Admit(admit::Request { token: "copy".to_owned(), content_hash: hash, ..request }),
        step @ Step::Settle(_) => step,
    };
    let steps = [copies([7; 32]).await, copies([8; 32]).await, world.step(&admit).await, world.step(&admit).await];
    let written = world.writer.write(&steps).await.unwrap();
    let [
        Written::Admission(Admission::Settled(Outcome::Done)),
        Written::Admission(Admission::Settled(Outcome::Reject { error })),
        Written::Admission(Admission::Send(sent)),
        Written::Admission(Admission::Settled(Outcome::Done)),
    ] = &written[..]
    else {
        panic!("{written:?}")
    };
    assert!(error.contains("used before for other content"), "{error}");
    assert_eq!((sent.record.attempt, world.attempt(0).await), (2, 2));
    world.check().await.unwrap();
}

#[sqlx::test]
async fn any_sequence_of_batches_events_and_crashes_ends_each_reservation_once(pool: PgPool) {
    set_price(&pool).await;
    let mut runner = TestRunner::default();
    let sequence = prop::collection::vec(happening(), 10..25);
    let mut spent = Decimal::ZERO;
    for number in 0..CASES {
        let happenings = sequence.new_tree(&mut runner).unwrap().current();
        let world = World::new(&pool, number).await;
        world.take(&Happening::Grant(250_000_000)).await;
        for (index, happening) in happenings.iter().enumerate() {
            world.take(happening).await;
            if let Err(wrong) = world.check().await {
                panic!("{wrong} after step {index} of {happenings:#?}");
            }
        }
        world.end().await;
        world.check().await.unwrap();
        spent += ledger::store::verify(&pool, Some(world.tenant)).await.unwrap()[0].account.spent;
    }
    assert!(spent > Decimal::ZERO, "nothing was ever posted: the sequences try nothing");
}
