//! The tree of commands holds together, and reads what scripts write.

use clap::{CommandFactory as _, Parser as _};

use super::{Cli, actor, find_name};

#[test]
fn the_tree_of_commands_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn commands_that_scripts_depend_on_are_read() {
    for line in [
        "tenant add --code rs-harapan --name RS --country ID --currency IDR --time-zone Asia/Jakarta --language id --alert-email keuangan@rs-harapan.example",
        "tenant set --tenant rs-harapan --whatsapp on --kind consultation_reminder=off --kind prescription_ready=on",
        "tenant whatsapp set --tenant rs-harapan --sender +62215550101 --phone-number-id 1001 --waba-id 2001 --country ID --currency IDR --active true --rate 80",
        "price set --country ID --currency IDR --category utility --price 356.65 --effective 2026-01-01",
        "purchase create --tenant rs-harapan --amount 1000000 --email keuangan@rs-harapan.example --json",
        "purchase pay 01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e --json",
        "purchase cancel 01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e --yes --json",
        "purchase list --tenant rs-harapan --status pending --json",
        "purchase payments --refused --purchase 01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e --json",
        "price quote --tenant rs-harapan --kind registration_confirmed --to 081234567890 --count 10 --at 2026-07-01",
        "price list --country ID --currency IDR --category utility --json",
        "price withdraw 12 --yes",
        "credit balance --tenant rs-harapan --json",
        "credit ledger --tenant rs-harapan --json",
        "credit ledger --verify --json",
        "credit ledger --since 2026-11-01 --until 2026-12-01 --kind post --notification REG-1 --csv",
        "credit statement --tenant rs-harapan --month 2026-11 --csv",
        "credit ledger --rebuild --yes",
        "credit reconcile",
        "credit reconcile --tenant rs-harapan --month 2026-11 --json",
        "credit adjust --tenant rs-harapan --amount -5 --reason x --yes",
        "enqueue - --keep-going --ids",
        "--json migrate --yes",
        "web",
        "notification show --tenant rs-harapan --id REG-2026-000123 --json",
        "notification list --tenant rs-harapan --status failed --limit 5 --json",
        "notification resend --tenant rs-harapan --id REG-2026-000123 --yes",
        "notification resend --status not_sent --reason insufficient_credit --tenant rs-harapan --since 2026-11-24 \
         --until 2026-11-25T09:30:00+07:00 --kind registration_confirmed --dry-run --yes --json",
        "opt-out list --tenant rs-harapan --to 081234567890 --limit 5 --json",
        "opt-out add --tenant rs-harapan --to 081234567890 --yes",
        "opt-out remove --tenant rs-harapan --to +6281234567890 --scope marketing --json",
        "tenant reminders set --tenant rs-harapan --offsets 24h,2h --window 07:00-21:00 --enabled on --json",
        "reminder list --tenant rs-harapan --appointment APP-1 --status planned --from 2026-11-24 --limit 5 --json",
        "reminder show --tenant rs-harapan --appointment APP-1 --json",
        "queue stats --json",
        "queue workers",
        "queue pause --tenant rs-harapan --kind consultation_reminder --json",
        "queue resume --tenant rs-harapan",
        "queue rejected list --limit 10 --json",
        "queue rejected requeue 1795503600000-0 1795503600000-1",
        "queue rejected purge --all --error x --dry-run",
        "queue rejected requeue --tenant a --kind prescription_ready --since 2026-11-24 --until 2026-11-25 --id R-1",
        "mail list --status failed --tenant rs-harapan --limit 5 --json",
        "mail retry 01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e",
        "mail retry --all-failed --yes",
        "secret rotate --yes --json",
        "audit list --tenant rs-harapan --action price --actor cli:root --since 2026-11-01 --limit 5 --csv",
        "audit verify --json --head -",
        "audit verify --tenant rs-harapan",
        "audit heads --limit 1 --json",
        "audit rebase --yes",
        "doctor --json --online",
    ] {
        let read = Cli::try_parse_from(std::iter::once("kmsnotif").chain(line.split(' ')));
        assert!(read.is_ok(), "{line}: {}", read.unwrap_err());
    }
}

#[test]
fn who_types_is_the_user_of_the_process() {
    let users = "root:x:0:0:root:/root:/bin/bash\nani:x:1000:1000::/home/ani:/bin/sh\n:x:7:7::/:\nbroken\n";
    assert_eq!((find_name(users, 0), find_name(users, 1_000)), (Some("root"), Some("ani")));
    assert_eq!((find_name(users, 7), find_name(users, 10), find_name("", 0)), (None, None, None));
    let uid = rustix::process::getuid().as_raw();
    let name = find_name(&std::fs::read_to_string("/etc/passwd").unwrap(), uid).map(str::to_owned);
    assert_eq!(actor(), format!("cli:{}", name.unwrap_or_else(|| format!("uid-{uid}"))));
}

#[test]
fn a_wrong_value_is_told_with_its_remedy() {
    for (line, remedy) in [
        ("worker --concurrency 0", "give a number from 1 to 100000"),
        ("tenant set --tenant a --retention-days 0", "retention is 1 to 36500 days"),
        ("tenant set --tenant a --alert-email nobody", "write it as name@domain.example"),
    ] {
        let read = Cli::try_parse_from(std::iter::once("kmsnotif").chain(line.split(' ')));
        let said = read.unwrap_err().to_string();
        assert!(said.contains(remedy), "{said}");
    }
}

#[test]
fn wrong_values_are_wrong_usage() {
    for line in [
        "tenant set --tenant a --kind nothing=off",
        "tenant set --tenant a",
        "tenant set --tenant a --alert-email nobody",
        "tenant set --tenant a --retention-days 0",
        "tenant set --tenant a --retention-days -1",
        "tenant set --tenant a --low-balance-threshold -5",
        "tenant add --code BAD --name RS --country ID --currency IDR --time-zone Asia/Jakarta",
        "tenant whatsapp set --tenant a --sender +62215550101 --phone-number-id 1001 --waba-id 2001 --country ID --currency IDR --rate 0",
        "tenant whatsapp set --tenant a --sender +62215550101 --phone-number-id a/b --waba-id 2001 --country ID --currency IDR",
        "price set --country ID --currency IDR --category utility --price -1 --effective 2026-01-01",
        "purchase create --tenant a --amount 5 --email nobody",
        "purchase create --tenant a --amount 0 --email a@b.example",
        "purchase create --tenant a --amount=-5 --email a@b.example",
        "worker --concurrency 0",
        "worker --concurrency -1",
        "price set --country ZZ --currency IDR --category utility --price 1 --effective 2026-01-01",
        "price set --country ID --currency IDR --category utility --price 1e3 --effective 2026-01-01",
        "price quote --tenant a --kind registration_confirmed --category utility",
        "price quote --tenant a --count 0",
        "purchase create --tenant a --amount 5EUR --email a@b.example",
        "purchase create --tenant a --amount 5 --currency EURO --email a@b.example",
        "credit ledger --json --csv",
        "credit reconcile --month 2026-13",
        "credit statement --tenant rs-harapan",
        "credit statement --tenant rs-harapan --month 2026-11-01",
        "credit ledger --verify --kind post",
        "tenant list --limit 0",
        "notification list --status gone",
        "notification show --tenant a",
        "notification resend --tenant a",
        "notification resend --tenant a --status accepted",
        "notification resend --tenant a --id x --status not_sent",
        "notification resend --tenant a --id x --dry-run",
        "notification resend --tenant a --status not_sent --reason Credit",
        "opt-out list",
        "opt-out add --tenant a",
        "opt-out remove --tenant a --to 0812 --scope some",
        "notification resend --tenant a --status not_sent --reason nonsense",
        "queue rejected requeue",
        "queue rejected purge 1-0 --all",
        "queue rejected purge 1-0 --error x",
        "queue rejected requeue 12",
        "mail list --status lost",
        "mail retry",
        "mail retry 01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e --all-failed",
        "audit list --csv --json",
        "audit list --action tenant.sett",
        "audit verify --tenant a --head x",
    ] {
        let read = Cli::try_parse_from(std::iter::once("kmsnotif").chain(line.split(' ')));
        assert_eq!(read.unwrap_err().exit_code(), 2, "{line}");
    }
}
