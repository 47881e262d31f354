//! A real browser: Chromium without a window, driven over WebDriver; gone with its test, however that ends.
//!
//! It is told what a person does (open, fill, press, look), and waits for what is looked for, never for a time:
//! the dashboard's stream keeps a page busy for good.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thirtyfour::error::WebDriverResult;
use thirtyfour::{By, ChromiumLikeCapabilities as _, DesiredCapabilities, Key, LoggingPrefsLogLevel, WebDriver};

use super::browser::PASSWORD;
use super::poll::{LIMIT, until, until_seen};
use super::server::{Directory, free_port};

/// Ends with the test's process: the pipe closes whatever happens to it, and all of this group is killed.
const KEEPER: &str = "\"$1\" --port=0 & exec >/dev/null; read -r _; kill -KILL 0";
const ARGUMENTS: [&str; 10] = [
    "--headless=new",
    // The pages are ours, and root in a container has no sandbox.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1280,900",
];
/// What the documents call a phone's width.
pub const PHONE_WIDTH: u32 = 360;

/// The driver with its browser; killed when dropped.
#[derive(Debug)]
struct Driver {
    keeper: Child,
    port: u16,
    _directory: Directory,
}

impl Driver {
    fn start() -> Self {
        let program = std::env::var("KMSNOTIF_TEST_CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".to_owned());
        let directory = Directory::new("chromium", free_port());
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh", &program])
            .env("TMPDIR", directory.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(keeper.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = said.find_map(|line| line.strip_suffix('.')?.rsplit_once(" on port ")?.1.parse().ok());
        let port = port.unwrap_or_else(|| panic!("{program} does not start: run script/setup --browser"));
        // It goes on saying things, and would stop where nobody reads.
        std::thread::spawn(move || said.for_each(drop));
        Self { keeper, port, _directory: directory }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A browser of one person.
#[derive(Debug)]
pub struct Chromium {
    web: WebDriver,
    url: String,
    _driver: Driver,
}

impl Chromium {
    /// Starts one for the web at this address.
    pub async fn start(url: &str) -> Self {
        Self::start_with(url, &json!({})).await
    }

    /// As [`start`](Self::start), with scripts switched off as a person switches them off.
    pub async fn start_without_scripts(url: &str) -> Self {
        Self::start_with(url, &json!({ "profile.managed_default_content_settings.javascript": 2 })).await
    }

    async fn start_with(url: &str, preferences: &Value) -> Self {
        let driver = Driver::start();
        let mut wanted = DesiredCapabilities::chrome();
        for argument in ARGUMENTS {
            wanted.add_arg(argument).unwrap();
        }
        wanted.add_experimental_option("prefs", preferences).unwrap();
        wanted.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        let web = WebDriver::new(format!("http://127.0.0.1:{}", driver.port), wanted).await.unwrap();
        // Nobody needs to say goodbye to a process that is killed.
        web.clone().leak().unwrap();
        Self { web, url: url.to_owned(), _driver: driver }
    }

    /// Opens an address; a path is one of the web under test.
    pub async fn open(&self, address: &str) {
        let url = if address.starts_with('/') { format!("{}{address}", self.url) } else { address.to_owned() };
        self.web.goto(url).await.unwrap();
    }

    /// Loads the page anew.
    pub async fn reload(&self) {
        self.web.refresh().await.unwrap();
    }

    /// The path of the page, without its query.
    pub async fn path(&self) -> String {
        self.web.current_url().await.unwrap().path().to_owned()
    }

    /// Runs a script in the page, whatever the page's policy is, and takes what it returns.
    pub async fn ask<T: DeserializeOwned>(&self, script: &str) -> T {
        self.web.execute(script, Vec::new()).await.unwrap().convert().unwrap()
    }

    /// As [`ask`](Self::ask), of a script that hands its answer to `arguments[0]`.
    pub async fn ask_async<T: DeserializeOwned>(&self, script: &str) -> T {
        self.web.execute_async(script, Vec::new()).await.unwrap().convert().unwrap()
    }

    /// What a reader sees of the page.
    pub async fn text(&self) -> String {
        self.web
            .execute("return document.body.innerText", Vec::new())
            .await
            .map_or_else(|error| error.to_string(), |text| text.convert().unwrap_or_default())
    }

    /// Waits until the page shows all of these.
    pub async fn sees(&self, texts: &[&str]) -> String {
        let all = |page: &String| texts.iter().all(|text| page.contains(text));
        until_seen(LIMIT, &format!("{texts:?}"), async || self.text().await, all).await
    }

    /// Waits until there is such an element.
    pub async fn finds(&self, selector: &str) {
        until(selector, async || self.web.find(By::Css(selector)).await.ok()).await;
    }

    /// How many such elements there are.
    pub async fn count(&self, selector: &str) -> usize {
        self.web.find_all(By::Css(selector)).await.unwrap().len()
    }

    /// Puts something into the field of this name, instead of what is there.
    pub async fn fill(&self, name: &str, value: &str) {
        let fill = async || -> WebDriverResult<()> {
            let field = self.web.find(By::Css(format!("main [name={name}]:not([type=hidden])"))).await?;
            if field.tag_name().await? == "input" && field.attr("type").await?.as_deref() != Some("date") {
                field.clear().await?;
                return field.send_keys(value).await;
            }
            // What a date's keys are depends on the browser's language; a list is chosen from.
            let script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))";
            self.web.execute(script, vec![field.to_json()?, json!(value)]).await.map(drop)
        };
        until(&format!("the field {name}"), async || fill().await.ok()).await;
    }

    /// Presses the button, or follows the link, of these words.
    pub async fn press(&self, words: &str) {
        let path = format!("//*[self::button or self::a][normalize-space()=\"{words}\"]");
        let press = async || self.web.find(By::XPath(path.as_str())).await?.click().await;
        until(&format!("{words:?} can be pressed"), async || press().await.ok()).await;
    }

    /// Presses the button of a form.
    pub async fn press_in(&self, form: &str) {
        let button = format!("{form} button");
        let press = async || self.web.find(By::Css(button.as_str())).await?.click().await;
        until(&format!("{button} can be pressed"), async || press().await.ok()).await;
    }

    /// Says yes or no to what the page asks.
    pub async fn answer(&self, yes: bool) {
        let answer = async || if yes { self.web.accept_alert().await } else { self.web.dismiss_alert().await };
        until("the page asks", async || answer().await.ok()).await;
    }

    /// Types into whatever has the focus.
    pub async fn types(&self, keys: &str) {
        self.web.action_chain().send_keys(keys).perform().await.unwrap();
    }

    /// Strikes a key.
    pub async fn strike(&self, key: Key) {
        self.web.action_chain().send_keys(key).perform().await.unwrap();
    }

    /// Logs in, wherever the page of log-in leads.
    pub async fn log_in(&self, email: &str) {
        self.open("/log-in?lang=en").await;
        self.fill("email", email).await;
        self.fill("password", PASSWORD).await;
        self.press("Log in").await;
        self.finds("header.top").await;
    }

    /// Makes the page as narrow as a phone, or as wide as a desk.
    pub async fn narrow(&self, narrow: bool) {
        let width = if narrow { PHONE_WIDTH } else { 1280 };
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Wants pages dark or light.
    pub async fn dark(&self, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let wish = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.command("Emulation.setEmulatedMedia", wish).await;
    }

    /// Has every page to come run this first.
    pub async fn bring(&self, script: &str) {
        self.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    async fn command(&self, name: &str, parameters: Value) {
        self.web.cdp().send_raw(name, parameters).await.unwrap();
    }

    /// What the browser complained of since it was asked last.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.web.browser_log().await.unwrap().into_iter();
        log.filter(|entry| ["SEVERE", "WARNING"].contains(&entry.level.as_str())).map(|entry| entry.message).collect()
    }
}
