//! A headless browser, driven over `WebDriver`: requests of plain JSON to a `chromedriver` that this starts.
//!
//! Machines without one do without these tests, and say so. `GATEWRIGHT_BROWSER=required` makes its absence a failure.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use crate::eventually;

/// How long anything in a page may take on a machine that is busy.
const SOON: Duration = Duration::from_secs(30);

/// A browser with one window. Dropping it ends the driver, and the browser with it.
pub struct Browser {
    driver: SocketAddr,
    session: String,
    _child: Child,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser; killed, it would leave it behind.
        let request = format!(
            "DELETE {} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.session, self.driver
        );
        if let Ok(mut stream) = std::net::TcpStream::connect(self.driver) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read(&mut [0; 1_024]);
        }
    }
}

impl Browser {
    /// Starts one; none where there is no `chromedriver`.
    pub async fn start() -> Option<Self> {
        let program = std::env::var("GATEWRIGHT_CHROMEDRIVER");
        let program = program.unwrap_or_else(|_| "chromedriver".into());
        let mut command = Command::new(&program);
        command.arg("--port=0").stdout(Stdio::piped());
        command.stderr(Stdio::null()).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let is_required =
                    std::env::var("GATEWRIGHT_BROWSER").is_ok_and(|it| it == "required");
                assert!(!is_required, "`{program}` cannot be started: {error}");
                println!(
                    "SKIPPED: `{program}` cannot be started ({error}), so the dashboard is not tried in a browser; \
                     on Debian: apt-get install chromium-driver"
                );
                return None;
            }
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines
                .next_line()
                .await
                .unwrap()
                .expect("a driver that starts");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').parse().unwrap();
            }
        };
        let driver = SocketAddr::from(([127, 0, 0, 1], port));
        let options = json!({ "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", "--hide-scrollbars",
        ] });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let made = call(driver, "POST", "/session", &wanted).await;
        let session = made["sessionId"].as_str().unwrap();
        Some(Self {
            driver,
            session: format!("/session/{session}"),
            _child: child,
        })
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("{}{path}", self.session);
        call(self.driver, method, &path, body).await
    }

    /// Opens an address.
    pub async fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url })).await;
    }

    /// The window's size in CSS pixels, and whether the machine's colours are dark.
    pub async fn look(&self, width: u32, is_dark: bool) {
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.command("Emulation.setDeviceMetricsOverride", &size)
            .await;
        let scheme = if is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.command("Emulation.setEmulatedMedia", &media).await;
    }

    async fn command(&self, name: &str, parameters: &Value) {
        let body = json!({ "cmd": name, "params": parameters });
        self.ask("POST", "/goog/cdp/execute", &body).await;
    }

    /// What a function body answers in the page.
    pub async fn run(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.ask("POST", "/execute/sync", &body).await
    }

    /// Waits until an expression is true in the page.
    pub async fn until(&self, expression: &str) {
        eventually(expression, SOON, async || {
            let script = format!("return Boolean({expression})");
            match self.run(&script).await {
                Value::Bool(true) => Ok(()),
                _ => Err(self.text().await),
            }
        })
        .await;
    }

    /// Waits until the page shows a text.
    pub async fn shows(&self, text: &str) {
        self.until(&format!(
            "document.body.innerText.includes({})",
            json!(text)
        ))
        .await;
    }

    /// All that can be read in the page.
    pub async fn text(&self) -> String {
        let text = self.run("return document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    async fn element(&self, selector: &str) -> String {
        let body = json!({ "using": "css selector", "value": selector });
        let found = self.ask("POST", "/element", &body).await;
        let id = found.as_object().and_then(|found| found.values().next());
        let id = id.and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("no {selector}: {found}"))
            .to_owned()
    }

    /// Clicks on the first element that a CSS selector finds, as a pointer would.
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.ask("POST", &format!("/element/{element}/click"), &json!({}))
            .await;
    }

    /// Types into the first element that a CSS selector finds.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        let body = json!({ "text": text });
        self.ask("POST", &format!("/element/{element}/value"), &body)
            .await;
    }

    /// Presses keys, wherever the focus is.
    pub async fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
            })
            .collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.ask("POST", "/actions", &body).await;
    }

    /// What the browser complained of since it was last asked: errors of scripts, and all that the content policy refused.
    pub async fn complaints(&self) -> Vec<String> {
        let lines = self
            .ask("POST", "/se/log", &json!({ "type": "browser" }))
            .await;
        let lines = lines.as_array().cloned().unwrap_or_default();
        let text = |line: &Value| line["message"].as_str().unwrap_or_default().to_owned();
        lines.iter().map(text).collect()
    }
}

/// One request. The driver keeps connections open, so the answer ends where it says that it does.
async fn call(driver: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
    let mut stream = TcpStream::connect(driver).await.unwrap();
    let body = body.to_string();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {driver}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let (mut head, mut line) = (String::new(), String::new());
    while line != "\r\n" {
        line.clear();
        assert!(stream.read_line(&mut line).await.unwrap() > 0, "{head}");
        head.push_str(&line.to_lowercase());
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let mut answer = vec![0; length.unwrap().trim().parse().unwrap()];
    stream.read_exact(&mut answer).await.unwrap();
    let mut answer: Value = serde_json::from_slice(&answer).unwrap();
    assert!(
        head.starts_with("http/1.1 200"),
        "{method} {path}: {answer}"
    );
    answer["value"].take()
}
