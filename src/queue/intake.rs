//! Reads the intake empty: what may run at once runs, everything else moves to its lane.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{RedisResult, Value};
use tokio::sync::OwnedSemaphorePermit;

use super::entry::{Entry, Source, read_entries};
use super::hand::Hand;
use super::key::GROUP;
use super::link::Backoff;
use super::pool::{BLOCK, Pool};
use super::record::{Lane, pack};
use super::script;

/// Entries read at once at most.
const READ_MAX: usize = 512;
/// Bytes that one read should stay below; the count adapts to the size of what was read last.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that one script call moves at most (one entry may be larger).
const MOVE_BYTES: usize = 1024 * 1024;

/// Reads until the pool stops.
pub(crate) async fn run(pool: Arc<Pool>) {
    let mut count = READ_MAX;
    let mut backoff = Backoff::new();
    if let Err(error) = pool.create_group().await {
        backoff.wait("groups", &error).await;
    }
    while !pool.is_stopping() {
        match read(&pool, count).await {
            Ok(entries) => {
                backoff = Backoff::new();
                count = next_count(&entries, count);
                if !entries.is_empty() {
                    route(&pool, entries).await;
                }
            }
            Err(error) => {
                pool.mend(&error).await;
                backoff.wait("intake", &error).await;
                recover(&pool).await;
            }
        }
    }
}

async fn read(pool: &Pool, count: usize) -> RedisResult<Vec<Entry>> {
    let answer: Value = pool
        .intake
        .try_call(async |mut connection| {
            redis::cmd("XREADGROUP")
                .arg(&["GROUP", GROUP, &pool.options.worker, "COUNT"])
                .arg(count)
                .arg("BLOCK")
                .arg(BLOCK.as_millis() as u64)
                .arg(&["STREAMS", &pool.keys.jobs, ">"])
                .query_async(&mut connection)
                .await
        })
        .await?;
    Ok(read_entries(answer, "job"))
}

/// An answer that was lost leaves entries pending for us that nobody works on; start them now, not a lease later.
async fn recover(pool: &Pool) {
    match pool.list_lost().await {
        Ok(entries) if !entries.is_empty() => {
            tracing::info!(count = entries.len(), "entries of a lost answer are routed again");
            route(pool, entries).await;
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "the pending list could not be read"),
    }
}

fn next_count(entries: &[Entry], count: usize) -> usize {
    let bytes: usize = entries.iter().map(|entry| entry.size).sum();
    if bytes > READ_BYTES {
        (count / 4).max(1)
    } else if bytes < READ_BYTES / 4 {
        (count * 2).min(READ_MAX)
    } else {
        count
    }
}

/// Sends entries of the intake their way.
async fn route(pool: &Pool, entries: Vec<Entry>) {
    // While stopping nothing starts: all of it goes to the lanes, where other workers find it.
    let permits = if pool.is_stopping() { Vec::new() } else { pool.permits(entries.len()) };
    let mut groups = group_by_lane(pool, entries);
    // Small groups first, so that what they leave of their fair share goes to the large ones.
    groups.sort_by_key(|group| group.jobs.len());
    let (grants, dues) = grant(pool, &groups, permits.len()).await;
    let (mut permits, mut dues) = (permits.into_iter(), dues.into_iter());
    let mut moved = Vec::new();
    for (group, granted) in groups.into_iter().zip(grants) {
        for (index, (lane, entry)) in group.jobs.into_iter().enumerate() {
            let due_ms = if index < granted { dues.next() } else { None };
            match due_ms.and_then(|due_ms| Some((due_ms, permits.next()?))) {
                Some((due_ms, permit)) => pool.start_or_delay(fresh(entry, lane, permit), due_ms),
                None => moved.push((lane, entry)),
            }
        }
    }
    drop(permits);
    if !moved.is_empty() {
        // In the order of the stream again: a lane is first in, first out, and the script looks at a range of ids.
        moved.sort_by_key(|(_, entry)| order(&entry.id));
        move_to_lanes(pool, &moved).await;
        pool.lanes_changed.notify_one();
    }
}

/// An entry's place in its stream: ids are two numbers.
fn order(id: &str) -> (u64, u64) {
    let (ms, seq) = id.split_once('-').unwrap_or((id, "0"));
    (ms.parse().unwrap_or(0), seq.parse().unwrap_or(0))
}

fn fresh(entry: Entry, lane: Lane, permit: OwnedSemaphorePermit) -> Hand {
    Hand {
        source: Source::Jobs,
        token: entry.id.clone(),
        id: entry.id,
        lane,
        payload: entry.value,
        deliveries: 1,
        _permit: permit,
    }
}

struct Group {
    name: String,
    rate: Option<u32>,
    jobs: Vec<(Lane, Entry)>,
}

fn group_by_lane(pool: &Pool, entries: Vec<Entry>) -> Vec<Group> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for entry in entries {
        let lane = pool.lane_of(entry.value.as_deref());
        let place = *places.entry(lane.group.clone()).or_insert_with(|| {
            groups.push(Group { name: lane.group.clone(), rate: lane.rate, jobs: Vec::new() });
            groups.len() - 1
        });
        groups[place].jobs.push((lane, entry));
    }
    groups
}

/// How many jobs of each group may start now; and of each of these, when its pair lets it run (0: now).
async fn grant(pool: &Pool, groups: &[Group], capacity: usize) -> (Vec<usize>, Vec<i64>) {
    let mut args = vec![pool.keys.prefix.clone(), capacity.to_string(), groups.len().to_string()];
    for group in groups {
        let wanted = most_at_once(group.rate).min(capacity).min(group.jobs.len());
        args.extend([
            group.name.clone(),
            group.rate.map_or_else(String::new, |rate| rate.to_string()),
            wanted.to_string(),
        ]);
        args.extend(group.jobs.iter().take(wanted).map(|(lane, _)| lane.pair_text()));
    }
    let args: Vec<&[u8]> = args.iter().map(String::as_bytes).collect();
    let answer = pool.script("grant", &script::GRANT, &[&pool.keys.ready], &args).await;
    redis::from_redis_value(answer).unwrap_or_else(|_| (vec![0; groups.len()], Vec::new()))
}

/// No more than this is granted at once, so no more need be asked for: 50 ms of the rate, as `pace.lua` has it.
fn most_at_once(rate: Option<u32>) -> usize {
    match rate {
        Some(rate @ 1..) => rate.div_ceil(20) as usize,
        Some(0) | None => usize::MAX,
    }
}

/// Moves entries to their lanes, in calls of bounded size.
async fn move_to_lanes(pool: &Pool, moved: &[(Lane, Entry)]) {
    let mut rest = moved;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest
            .iter()
            .take_while(|(_, entry)| {
                bytes += entry.size;
                bytes <= MOVE_BYTES
            })
            .count()
            .max(1);
        let (chunk, left) = rest.split_at(fits);
        rest = left;
        // An entry without the field `job` is never moved away from its fault: its record says so.
        let records: Vec<Vec<u8>> =
            chunk.iter().map(|(lane, entry)| pack(lane, 0, entry.value.as_deref().unwrap_or_default())).collect();
        let priorities: Vec<String> = chunk.iter().map(|(lane, _)| lane.priority.to_string()).collect();
        let mut args: Vec<&[u8]> = vec![pool.keys.prefix.as_bytes(), GROUP.as_bytes(), pool.options.worker.as_bytes()];
        for (((lane, entry), record), priority) in chunk.iter().zip(&records).zip(&priorities) {
            args.extend([entry.id.as_bytes(), lane.group.as_bytes(), priority.as_bytes(), record]);
        }
        pool.script("move", &script::MOVE, &[&pool.keys.jobs, &pool.keys.held, &pool.keys.ready], &args).await;
    }
}
