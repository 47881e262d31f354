//! Every screen in a real browser, at a phone's width: as each role, in each language.

use kmsnotif::people::Role;
use kmsnotif::web;
use serde::Deserialize;

use crate::harness::{Chromium, Furniture, PHONE_WIDTH, TestApp, Words, until};

/// The headings of screens, by the paths of their words; those of other screens are some words of the language.
const HEADINGS: &[(&str, &str)] = &[
    ("/", "menu.tenants"),
    ("/account", "account.title"),
    ("/t/{tenant}", "menu.dashboard"),
    ("/t/{tenant}/log", "log.title"),
    ("/t/{tenant}/credits", "credits.title"),
    ("/t/{tenant}/credits/ledger", "credits.ledger"),
    ("/t/{tenant}/credits/statement", "credits.statement"),
    ("/t/{tenant}/credits/purchases/{purchase}", "credits.id"),
    ("/t/{tenant}/whatsapp", "whatsapp.title"),
    ("/prices", "prices.title"),
    ("/audit", "menu.audit"),
    ("/t/{tenant}/audit", "menu.audit"),
    ("/t/{tenant}/templates", "menu.templates"),
    ("/queue", "menu.queue"),
    ("/t/{tenant}/reminders", "menu.reminders"),
    ("/t/{tenant}/opt-outs", "menu.opt_outs"),
    ("/users", "menu.users"),
    ("/t/{tenant}/users", "menu.users"),
    ("/t/{tenant}/keys", "menu.keys"),
    ("/health", "menu.health"),
];

/// What is called so in every language: templates at Meta on their page, settings of Postgres on the page of health.
const NAMES: [(&str, &str); 6] = [
    ("/t/{tenant}/templates", "registration_confirmed"),
    ("/t/{tenant}/templates", "prescription_ready"),
    ("/t/{tenant}/templates", "consultation_reminder"),
    ("/t/{tenant}/templates", "credit_purchase_status"),
    ("/health", "full_page_writes"),
    ("/health", "synchronous_commit"),
];

/// What the product's documents let each role open.
fn menu(role: Role) -> &'static [&'static str] {
    match role {
        Role::Administrator => &[
            "tenants",
            "dashboard",
            "whatsapp",
            "pricing",
            "templates",
            "credits",
            "log",
            "reminders",
            "opt_outs",
            "audit",
            "users",
            "keys",
            "service_audit",
            "service_users",
            "queue",
            "health",
        ],
        Role::TenantAdmin => {
            &["dashboard", "whatsapp", "templates", "credits", "log", "reminders", "opt_outs", "audit", "users", "keys"]
        }
        Role::Finance => &["credits"],
        Role::Support => {
            &["tenants", "dashboard", "log", "reminders", "opt_outs", "audit", "service_audit", "queue", "health"]
        }
    }
}

/// A page as its reader has it.
#[derive(Debug, Deserialize)]
struct Screen {
    language: String,
    title: String,
    heading: String,
    menu: Vec<String>,
    /// Whether the menu shows where the reader is.
    placed: bool,
    /// Without codes and what is marked as another language, as a patient's message is.
    words: String,
    width: u32,
    /// Boxes whose content is wider than they are, without a way in by keyboard or a name.
    shut: Vec<String>,
    /// How many boxes are wider within than they show.
    wide: usize,
    hosts: Vec<String>,
    links: Vec<String>,
    forms: Vec<String>,
}

const LOOK: &str = r"
    // A page that is just being loaded has no words yet.
    if (document.readyState !== 'complete') return null;
    const all = (selector, from = document) => [...from.querySelectorAll(selector)];
    const path = address => new URL(address, location).pathname;
    const loaded = performance.getEntriesByType('resource').map(entry => entry.name);
    const named = all('[src], link[href]').map(element => element.src || element.href);
    const page = document.body.cloneNode(true);
    const apart = 'code, .nowrap, option:not([value]), [name=language] option, .person > a, [lang]';
    all(apart, page).forEach(element => element.remove());
    const words = all('[aria-label]', page).map(element => element.getAttribute('aria-label'));
    const walker = document.createTreeWalker(page, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) words.push(walker.currentNode.data);
    return {
        language: document.documentElement.lang,
        title: document.title,
        heading: all('h1').map(heading => heading.innerText).join(' | '),
        menu: all('nav.side a').map(link => link.innerText),
        placed: all('nav.side [aria-current]').every(link => link.getBoundingClientRect().right <= innerWidth),
        words: words.join('\n'),
        width: document.documentElement.scrollWidth,
        shut: all('.scroll').filter(box => box.tabIndex !== 0 || !box.getAttribute('aria-label') || box.getAttribute('role') !== 'region')
            .map(box => box.outerHTML.slice(0, 100)),
        wide: all('.scroll').filter(box => box.scrollWidth > box.clientWidth).length,
        hosts: [...loaded, ...named].map(address => new URL(address, location).host),
        links: all('a[href]').filter(link => link.origin === location.origin).map(link => path(link.href)),
        forms: all('form').filter(form => form.method === 'post')
            .flatMap(form => [form.getAttribute('action'), ...all('[formaction]', form).map(b => b.formAction)].map(path)),
    };";

/// Whether a role may ask for this path.
fn may(role: Role, method: &str, path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |route: &str| {
        let route: Vec<&str> = route.split('/').collect();
        route.len() == parts.len() && route.iter().zip(&parts).all(|(of, part)| of == part || of.starts_with('{'))
    };
    // A route that is written out is meant before one with a hole.
    let mut routes: Vec<_> = web::permissions().filter(|(of, route, _)| *of == method && fits(route)).collect();
    routes.sort_by_key(|(_, route, _)| route.matches('{').count());
    routes.first().is_some_and(|(_, _, roles)| roles.is_none_or(|roles| roles.contains(&role)))
}

/// Keys that no words were found for look like `some_key`; what is filled in, like `{n}`.
fn untranslated(words: &str) -> Vec<&str> {
    let is_key = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        word.contains('_')
            && !word.contains(['@', '.', ':'])
            && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    words.split_whitespace().filter(|word| is_key(word) || word.contains('{')).collect()
}

/// All that is wrong with a screen.
fn faults(screen: &Screen, route: &str, role: Role, words: &Words, all: &[Words], host: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            faults.push(what);
        }
    };
    expect(screen.language == words.language, format!("is in the language {}", screen.language));
    let title = screen.title.trim_end_matches(" · KMSNotif");
    match HEADINGS.iter().find(|(of, _)| *of == route) {
        Some((_, path)) => expect(title.starts_with(words.get(path)), format!("the title is {title:?}")),
        None => expect(
            title == screen.heading || words.begin(title) || screen.heading.starts_with(title),
            format!("the title is {title:?}"),
        ),
    }
    expect(!screen.heading.is_empty() && !screen.heading.contains('|'), format!("the heading is {:?}", screen.heading));
    let of_service = role.is_of_tenant() || route.contains("{tenant}");
    let is_tenants =
        |key: &&&str| !matches!(**key, "tenants" | "pricing" | "queue" | "health") && !key.starts_with("service");
    let menu: Vec<&str> = menu(role)
        .iter()
        .filter(|key| of_service || !is_tenants(key))
        .map(|key| words.get(&format!("menu.{key}")))
        .collect();
    expect(screen.menu == menu, format!("the menu is {:?} and not {menu:?}", screen.menu));
    expect(screen.placed, "its entry in the menu is out of sight".to_owned());
    expect(screen.width <= PHONE_WIDTH, format!("it is {} pixels wide", screen.width));
    expect(screen.shut.is_empty(), format!("cannot be scrolled by keyboard: {:?}", screen.shut));
    if route.ends_with("/statement") {
        expect(screen.wide == 0, "its amounts are out of sight".to_owned());
    }
    let elsewhere: Vec<&String> = screen.hosts.iter().filter(|of| *of != host).collect();
    expect(elsewhere.is_empty(), format!("asks {elsewhere:?}"));
    let dead: Vec<&String> =
        screen.links.iter().filter(|path| *path != "/api/docs" && !may(role, "GET", path)).collect();
    expect(dead.is_empty(), format!("links to what is not for this role: {dead:?}"));
    let dead: Vec<&String> = screen.forms.iter().filter(|path| !may(role, "POST", path)).collect();
    expect(dead.is_empty(), format!("has forms that are not for this role: {dead:?}"));
    let mut keys = untranslated(&screen.words);
    keys.retain(|key| !NAMES.contains(&(route, key.trim_matches(['(', ')']))));
    expect(keys.is_empty(), format!("shows {keys:?}"));
    let strangers = words.strangers(all, &screen.words);
    expect(strangers.is_empty(), format!("says in another language: {strangers:?}"));
    faults
}

/// Opens every page of a role in one language.
async fn walk(
    wrong: &mut Vec<String>,
    chromium: &Chromium,
    role: Role,
    words: &Words,
    all: &[Words],
    furniture: &Furniture,
    host: &str,
) -> usize {
    let mut walked = 0;
    for (method, route, roles) in web::permissions() {
        if method != "GET" || !roles.is_some_and(|roles| roles.contains(&role)) {
            continue;
        }
        // Who has one tenant is led from there to it.
        let Some(address) = furniture.address(route).filter(|_| route != "/" || !role.is_of_tenant()) else { continue };
        chromium.open(&address).await;
        let screen = until("the page is whole", async || chromium.ask::<Option<Screen>>(LOOK).await).await;
        let mut faults = faults(&screen, route, role, words, all, host);
        faults.extend(chromium.complaints().await);
        wrong.extend(faults.into_iter().map(|fault| format!("{role}, {}: {address} {fault}", words.language)));
        walked += 1;
    }
    walked
}

async fn walk_as(role: Role, screens: usize) {
    // As much as a large hospital buys, whose amounts are the widest.
    let mut app = TestApp::builder().credit(1_250_000_000).start().await;
    let url = app.start_web().await;
    let furniture = app.furnish(&url).await;
    let all = Words::all();
    let host = url.trim_start_matches("http://");
    let chromium = Chromium::start(&url).await;
    chromium.narrow(true).await;
    chromium.log_in(&app.ensure_user(role, "rs-harapan").await).await;
    let mut wrong = Vec::new();
    for words in &all {
        chromium.open("/account").await;
        chromium.fill("language", words.language).await;
        chromium.press_in("form[action='/account/language']").await;
        chromium.finds(&format!("html[lang={}]", words.language)).await;
        let walked = walk(&mut wrong, &chromium, role, words, &all, &furniture, host).await;
        assert!(walked >= screens, "{role} has seen {walked} screens");
    }
    assert!(wrong.is_empty(), "{} faults: {wrong:#?}", wrong.len());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn an_administrator_reads_every_screen_in_three_languages() {
    walk_as(Role::Administrator, 23).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn a_tenants_administrator_reads_every_screen_in_three_languages() {
    walk_as(Role::TenantAdmin, 15).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn finance_reads_every_screen_in_three_languages() {
    walk_as(Role::Finance, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn support_reads_every_screen_in_three_languages() {
    walk_as(Role::Support, 12).await;
}
