//! Jobs of our own on their way into Redis: written with the change they tell of, enqueued by the scheduler.
//!
//! A capability must not name the queue, and a job that is enqueued after a commit is lost when the process dies in
//! between. So a job's life: [`store::insert`] inside the transaction of the change → the scheduler puts it into
//! Redis → its row is deleted. Redis may get it twice; its id makes it one notification.

pub mod store;
