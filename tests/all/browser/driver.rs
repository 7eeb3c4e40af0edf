//! A browser that a test drives: headless Chromium behind ChromeDriver (W3C WebDriver).

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Conn, head};

/// A browser with an empty profile. It ends when it is dropped.
pub struct Browser {
    driver: Child,
    wire: Conn,
    session: String,
    downloads: TempDir,
}

/// An element of the page that is open.
pub struct Element(String);

impl Browser {
    /// Whether there is one on this machine, and what to drive it with.
    pub fn is_installed() -> bool {
        ["chromium", "chromedriver"].iter().all(|program| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        })
    }

    /// Starts one that knows no hosts but these: (pattern, with a port or not; where it leads).
    pub fn start(hosts: &[(&str, SocketAddr)]) -> Self {
        let mut driver =
            Command::new("chromedriver").arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let started = lines.find(|line| line.contains("started successfully on port")).expect("ChromeDriver's port");
        let port: u16 = started.trim_end_matches('.').rsplit(' ').next().unwrap().parse().unwrap();
        // Or it would wait for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let (downloads, wire) = (tempfile::tempdir().unwrap(), Conn::new(([127, 0, 0, 1], port).into()));
        let mut browser = Browser { driver, wire, session: String::new(), downloads };

        let mut rules: Vec<String> = hosts.iter().map(|(pattern, to)| format!("MAP {pattern} {to}")).collect();
        rules.push("MAP * ~NOTFOUND".to_owned());
        let mut arguments: Vec<String> = ARGUMENTS.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.push(format!("--host-resolver-rules={}", rules.join(",")));
        let folder = browser.downloads.path().to_str().unwrap();
        let session = browser.command(
            "POST",
            "",
            &json!({ "capabilities": { "alwaysMatch": {
                "browserName": "chrome",
                "acceptInsecureCerts": true,
                "goog:chromeOptions": { "args": arguments, "prefs": { "download.default_directory": folder } },
            }}}),
        );
        browser.session = format!("/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    /// Waits for a download: its name and what is in it. The file is gone then.
    pub fn downloaded(&mut self) -> (String, Vec<u8>) {
        let start = Instant::now();
        loop {
            let files = fs::read_dir(self.downloads.path()).unwrap().map(|file| file.unwrap());
            let names: Vec<String> = files.map(|file| file.file_name().into_string().unwrap()).collect();
            match &names[..] {
                // While it comes it has another name.
                [name] if !name.ends_with(".crdownload") && !name.starts_with('.') => {
                    let path = self.downloads.path().join(name);
                    let content = fs::read(&path).unwrap();
                    fs::remove_file(path).unwrap();
                    return (name.clone(), content);
                }
                _ => assert!(start.elapsed() < PATIENCE, "nothing was downloaded: {names:?} at {}", self.url()),
            }
        }
    }

    /// Goes to a URL, and waits until it is loaded.
    pub fn open(&mut self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    /// The URL of the page, or of the frames' common page.
    pub fn url(&mut self) -> String {
        self.command("GET", "/url", &Value::Null).as_str().unwrap().to_owned()
    }

    /// Goes on in the frame of this name.
    pub fn enter(&mut self, frame: &str) {
        let element = self.find(&format!("[name={frame}]"));
        self.command("POST", "/frame", &json!({ "id": { ELEMENT: element.0 } }));
    }

    /// Goes on in the page that holds all frames.
    pub fn leave_frames(&mut self) {
        self.command("POST", "/frame", &json!({ "id": null }));
    }

    /// The first element that fits a CSS selector.
    pub fn find(&mut self, selector: &str) -> Element {
        let found = self.command("POST", "/element", &json!({ "using": "css selector", "value": selector }));
        Element(found[ELEMENT].as_str().unwrap().to_owned())
    }

    /// Clicks on the first such element, as a visitor does.
    pub fn click(&mut self, selector: &str) {
        let Element(id) = self.find(selector);
        self.command("POST", &format!("/element/{id}/click"), &json!({}));
    }

    /// Types into the first such element; into one for files, the path of one.
    pub fn type_into(&mut self, selector: &str, text: &str) {
        let Element(id) = self.find(selector);
        self.command("POST", &format!("/element/{id}/value"), &json!({ "text": text }));
    }

    /// Runs the body of a function in the page; what it returns.
    pub fn run(&mut self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// As [`run`](Self::run), for a text.
    pub fn text(&mut self, script: &str) -> String {
        let value = self.run(script);
        value.as_str().unwrap_or_else(|| panic!("{script}: {value}")).to_owned()
    }

    /// Runs a script until it returns `true`. It may fail while pages change.
    pub fn until(&mut self, script: &str) {
        let start = Instant::now();
        loop {
            let arguments = json!({ "script": format!("return {script}"), "args": [] });
            let got = self.try_command("POST", "/execute/sync", &arguments);
            if got == Ok(Value::Bool(true)) {
                return;
            }
            if start.elapsed() > PATIENCE {
                let page = self.run("return location.href + '\\n' + document.documentElement.outerHTML");
                panic!("{script} did not happen, but {got:?} at {}", page.as_str().unwrap_or_default());
            }
        }
    }

    /// The page's cookies, those that scripts can't see too.
    pub fn cookies(&mut self) -> Vec<Value> {
        self.command("GET", "/cookie", &Value::Null).as_array().unwrap().clone()
    }

    /// Forgets the page's cookies.
    pub fn forget_cookies(&mut self) {
        self.command("DELETE", "/cookie", &Value::Null);
    }

    /// Asks the browser's developer tools.
    pub fn devtools(&mut self, name: &str, arguments: &Value) -> Value {
        self.command("POST", "/goog/cdp/execute", &json!({ "cmd": name, "params": arguments }))
    }

    fn command(&mut self, method: &str, path: &str, body: &Value) -> Value {
        self.try_command(method, path, body).unwrap_or_else(|error| panic!("{method} {path} {body}: {error}"))
    }

    /// # Errors
    /// What the driver says.
    fn try_command(&mut self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let target = format!("/session{}{path}", self.session);
        let answer = self.wire.send(&head(method, "localhost", target.as_bytes(), &[], body.as_bytes()), false);
        let answer = answer.map_err(|error| error.to_string())?;
        let value: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        match answer.status {
            200 => Ok(value["value"].clone()),
            status => Err(format!("{status} {}: {}", value["value"]["error"], value["value"]["message"])),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser. It may be the driver that has failed.
        let _ = self.try_command("DELETE", "", &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// How the browser is started: without a window, without talk of its own, in a container too.
const ARGUMENTS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    // It would ask for HTTPS where plain HTTP is to be tried.
    "--disable-features=HttpsUpgrades,HttpsFirstBalancedMode,HttpsFirstBalancedModeAutoEnable",
    "--autoplay-policy=user-gesture-required",
];

/// The key of elements (WebDriver, 11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Nothing on a page takes longer, or it never comes.
const PATIENCE: Duration = Duration::from_secs(60);
