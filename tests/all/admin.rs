//! The admin address over real sockets: each way in, and who is not let in.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::Path,
    process::Output,
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore, pki_types::PrivateKeyDer, version::TLS13};
use serde_json::Value;
use tempfile::TempDir;
use waypost::{
    admin::tokens::{self, Role},
    config::{Address, Gateway},
    server::{self, Running},
};

use crate::client::{self, Conn, Dial, Response, head};
use crate::program::{self, Program, Successor};

/// A folder with a gateway.toml and a site, and its settings.
fn node(listen: &str, more: &str) -> (TempDir, Gateway) {
    let folder = tempfile::tempdir().unwrap();
    let gateway = node_in(folder.path(), listen, more);
    (folder, gateway)
}

fn node_in(folder: &Path, listen: &str, more: &str) -> Gateway {
    let listen = listen.replace("HERE", folder.to_str().unwrap());
    let text =
        format!("[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"{listen}\"\n[reload]\nwatch = false\n[admin]\n{more}\n");
    fs::write(folder.join("gateway.toml"), &text).unwrap();
    fs::create_dir_all(folder.join("routes")).unwrap();
    let site = "name = \"a\"\nhosts = [\"a.example\"]\nhome = \"https://new.example/\"\n";
    fs::write(folder.join("routes/a.toml"), site).unwrap();
    let (gateway, faults) = Gateway::parse("gateway.toml", text, folder);
    assert!(faults.iter().all(|fault| fault.code == "clear-tokens"), "{faults:?}");
    gateway
}

fn start(gateway: &Gateway) -> Running {
    server::start(gateway.clone()).unwrap()
}

fn refusal(gateway: &Gateway) -> String {
    format!("{:#}", server::start(gateway.clone()).err().unwrap())
}

fn ask(address: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
    let raw = head(method, "localhost", target.as_bytes(), fields, b"");
    Conn::new(address).send(&raw, method == "HEAD").unwrap()
}

fn bearer(token: &str) -> (&'static str, String) {
    ("Authorization", format!("Bearer {token}"))
}

fn with_token(address: SocketAddr, method: &str, target: &str, token: &str) -> Response {
    let (name, value) = bearer(token);
    ask(address, method, target, &[(name, &value)])
}

/// The program, in the folder of a node.
fn waypost(folder: &Path, args: &[&str], token: Option<&str>) -> Output {
    let mut command = program::waypost(folder, args);
    command.env_remove("WAYPOST_TOKEN").envs(token.map(|token| ("WAYPOST_TOKEN", token)));
    command.output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The lines of the audit log.
fn audited(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("audit.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_loopback_address_is_for_this_machine_and_not_for_web_pages() {
    let (folder, gateway) = node("127.0.0.1:0", "hosts = [\"gateway.example\"]");
    let running = start(&gateway);
    let status = |host: &str, fields: &[(&str, &str)]| {
        Conn::new(running.admin).send(&head("POST", host, b"/purge?all", fields, b""), false).unwrap().status
    };
    let own = running.admin.to_string();
    for host in ["localhost", &own, "gateway.example:9180", "[::1]:1"] {
        assert_eq!(status(host, &[]), 200, "{host}");
    }
    let before = audited(folder.path()).len();
    // DNS rebinding: the page's own name leads here.
    assert_eq!(status("evil.example", &[]), 421);
    assert_eq!(status("evil.example", &[("Origin", "http://evil.example")]), 421);
    // A form or a script of a page somewhere else.
    assert_eq!(status(&own, &[("Origin", "http://evil.example")]), 403);
    assert_eq!(status(&own, &[("Origin", "null")]), 403);
    assert_eq!(status(&own, &[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(audited(folder.path()).len(), before, "nothing was changed");
    assert_eq!(status(&own, &[("Origin", &format!("http://{own}")), ("Sec-Fetch-Site", "same-origin")]), 200);
    // Reading, too.
    let read = |host: &str| Conn::new(running.admin).get(host, "/metrics");
    assert_eq!((read("evil.example").status, read("localhost").status), (421, 200));
    let metrics = read("localhost").text();
    assert!(metrics.contains("waypost_admin_refused_total{reason=\"foreign_host\"} 3\n"), "{metrics}");
    assert!(metrics.contains("waypost_admin_refused_total{reason=\"foreign_origin\"} 3\n"), "{metrics}");
    // Whoever has no Host is no browser.
    let raw = b"GET /healthz HTTP/1.0\r\n\r\n";
    assert_eq!(Conn::new(running.admin).send(raw, false).unwrap().status, 200);
    let answer = read("localhost");
    assert_eq!((answer.header("x-content-type-options"), answer.header("x-frame-options")), ("nosniff", "DENY"));
    running.stop();
}

#[test]
fn an_address_that_others_reach_needs_somebody_who_is_asked_for() {
    let (folder, gateway) = node("127.0.0.1:0", "");
    let open = Gateway { admin: "0.0.0.0:0".parse().unwrap(), ..gateway.clone() };
    let why = refusal(&open);
    assert!(why.contains("0.0.0.0:0") && why.contains("[admin] tokens") && why.contains("127.0.0.1"), "{why}");
    // The same from the commands, by the file and by the option.
    for command in ["serve", "config"] {
        let output = waypost(folder.path(), &[command, "--admin", "0.0.0.0:0"], None);
        assert!(code(&output) == 1 && err(&output).contains("[admin] tokens"), "{command}: {}", err(&output));
    }
    fs::write(folder.path().join("gateway.toml"), "[listen]\nadmin = \"[::]:0\"\n").unwrap();
    for command in ["serve", "config", "check"] {
        let output = waypost(folder.path(), &[command], None);
        let text = err(&output) + &out(&output);
        assert!(code(&output) == 1 && text.contains("error[open-admin]"), "{command}: {text}");
        assert!(text.contains("gateway.toml:2:9") && text.contains("waypost admin token"), "{command}: {text}");
    }
    // With tokens it starts, and asks for them.
    let gateway = node_in(folder.path(), "0.0.0.0:0", "tokens = \"tokens\"");
    let why = refusal(&gateway);
    assert!(why.contains("no file of tokens") && why.contains("waypost admin token NAME"), "{why}");
    let token = tokens::add(&folder.path().join("tokens"), "probe", Role::Read).unwrap();
    let running = start(&gateway);
    let address = SocketAddr::from(([127, 0, 0, 1], running.admin.port()));
    assert_eq!(ask(address, "GET", "/healthz", &[]).status, 401);
    assert_eq!(with_token(address, "GET", "/healthz", &token).status, 200);
    running.stop();
}

#[test]
fn tokens_say_who_may_do_what() {
    let (folder, gateway) = node("127.0.0.1:0", "tokens = \"tokens\"");
    let file = folder.path().join("tokens");
    let made = waypost(folder.path(), &["admin", "token", "ops", "--role", "change"], None);
    let ops = out(&made).trim().to_owned();
    assert!(code(&made) == 0 && ops.starts_with("waypost.ops.") && err(&made).contains("this once"), "{}", err(&made));
    let probe = out(&waypost(folder.path(), &["admin", "token", "probe"], None)).trim().to_owned();
    let again = waypost(folder.path(), &["admin", "token", "ops"], None);
    assert!(code(&again) == 1 && err(&again).contains("has a token already"), "{}", err(&again));
    let slip = folder.path().join("slip.toml");
    fs::write(&slip, "[admin]\ntokens = \"tokens\"\naudits = \"elsewhere\"\n").unwrap();
    let unsure = waypost(folder.path(), &["admin", "token", "more", "--config", "slip.toml"], None);
    assert!(code(&unsure) == 1 && err(&unsure).contains("did you mean `audit`?"), "{}", err(&unsure));
    let running = start(&gateway);
    let ask = |method, target, token: &str| with_token(running.admin, method, target, token).status;

    let bare = self::ask(running.admin, "GET", "/metrics", &[]);
    assert_eq!((bare.status, bare.header("www-authenticate")), (401, "Bearer realm=\"waypost admin\""));
    assert!(!bare.text().contains("waypost_"), "{}", bare.text());
    for target in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!((ask("GET", target, &probe), ask("HEAD", target, &ops)), (200, 200), "{target}");
    }
    assert_eq!(ask("GET", "/nothing", &probe), 404);
    assert_eq!(ask("POST", "/purge?all", &probe), 403);
    assert_eq!(ask("POST", "/purge?all", &ops), 200);
    for wrong in ["", "secret", "waypost.ops.secret", &ops[..ops.len() - 1], &ops.replace("ops", "probe")] {
        assert_eq!(ask("GET", "/metrics", wrong), 401, "{wrong:?}");
    }
    let purge = audited(folder.path()).into_iter().filter(|line| line["what"] == "purge").collect::<Vec<_>>();
    assert_eq!((purge.len(), &purge[0]["who"], &purge[1]["result"]), (2, &"token ops".into(), &"done".into()));
    assert!(purge[0]["from"].as_str().unwrap().starts_with("127.0.0.1:"));

    // From one request to the next: opened to others, closed again, taken away.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(ask("GET", "/metrics", &ops), 503);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(ask("GET", "/metrics", &ops), 200);
    assert_eq!(code(&waypost(folder.path(), &["admin", "revoke", "ops"], None)), 0);
    assert_eq!((ask("GET", "/metrics", &ops), ask("GET", "/metrics", &probe)), (401, 200));
    let revoked = audited(folder.path()).pop().unwrap();
    assert_eq!(
        (&revoked["what"], &revoked["on"], &revoked["result"]),
        (&"token".into(), &"ops".into(), &"done".into())
    );
    assert_eq!(revoked["before"]["role"], "change");
    running.stop();
    assert_eq!(code(&waypost(folder.path(), &["audit", "verify"], None)), 0);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(refusal(&gateway).contains("chmod 600"));
}

#[test]
fn guessing_ends_in_waiting() {
    let (folder, gateway) = node("127.0.0.1:0", "tokens = \"tokens\"");
    let ops = tokens::add(&folder.path().join("tokens"), "ops", Role::Change).unwrap();
    let running = start(&gateway);
    let guess = |n: usize| with_token(running.admin, "GET", "/metrics", &format!("waypost.ops.{n}"));
    let answers: Vec<Response> = (0..15).map(guess).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert!(statuses[..10].iter().all(|status| *status == 401) && statuses.contains(&429), "{statuses:?}");
    let wait: u64 = answers.last().unwrap().header("retry-after").parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
    // By a Unix socket or from another address it would go on; here the bucket has to fill.
    assert_eq!(with_token(running.admin, "GET", "/metrics", &ops).status, 429);
    running.stop();
}

#[test]
fn a_unix_socket_is_for_its_owner() {
    let (folder, gateway) = node("unix:HERE/admin.sock", "");
    let running = start(&gateway);
    let path = folder.path().join("admin.sock");
    assert_eq!(gateway.admin, Address::Unix(path.clone()));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    // Whatever host: no browser gets here.
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
    let purged = waypost(folder.path(), &["purge", "--all"], None);
    assert_eq!((code(&purged), out(&purged).as_str()), (0, "purged\n"), "{}", err(&purged));
    let line = &audited(folder.path())[1];
    let user = format!("user {}", rustix::process::getuid().as_raw());
    assert_eq!((&line["who"], &line["from"], &line["on"]), (&user.into(), &"unix".into(), &"all".into()));
    running.stop();
    assert!(!path.exists());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let why = refusal(&gateway);
    assert!(why.contains("admin address") && why.contains("others may write to its folder"), "{why}");
}

#[test]
fn a_unix_socket_is_handed_over() {
    let (folder, _) = node("unix:HERE/admin.sock", "");
    let settings = fs::read_to_string(folder.path().join("gateway.toml")).unwrap();
    fs::write(folder.path().join("gateway.toml"), settings + "[process]\ndirectory = \"control\"\n").unwrap();
    let mut old = Program::start(folder.path());
    let path = folder.path().join("admin.sock");
    let before = fs::metadata(&path).unwrap().ino();
    let upgraded = waypost(folder.path(), &["upgrade", "--json"], None);
    let report: Value = serde_json::from_str(&out(&upgraded)).unwrap();
    assert_eq!(code(&upgraded), 0, "{report}");
    let new = Successor(report["pid"].as_u64().unwrap() as u32);
    assert!(old.end().success());
    assert_eq!(fs::metadata(&path).unwrap().ino(), before, "the same socket");
    assert_eq!(out(&waypost(folder.path(), &["purge", "--all"], None)), "purged\n");
    program::signal(new.0, "TERM");
    program::until("its end", || !path.exists());
    assert_eq!(code(&waypost(folder.path(), &["audit", "verify"], None)), 0);
}

/// Authorities, and what they sign.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes NAME.pem and NAME.key.
    fn issue(&self, folder: &Path, name: &str) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "青山县");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// A client that shows a certificate.
fn shows(folder: &Path, name: &str) -> Arc<ClientConfig> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let read = |suffix: &str| fs::read(folder.join(format!("{name}.{suffix}"))).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&fs::read(folder.join("ca.pem")).unwrap()).unwrap()).unwrap();
    let chain = CertificateDer::pem_slice_iter(&read("pem")).collect::<Result<Vec<_>, _>>().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&read("key")).unwrap());
    Arc::new(config.unwrap())
}

fn over_tls(address: SocketAddr, config: Arc<ClientConfig>, raw: &[u8]) -> Option<Response> {
    let dial = Dial { address, tls: Some((config, "localhost".try_into().unwrap())) };
    Conn::over(dial).send(raw, false).ok()
}

#[test]
fn client_certificates_say_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (Authority::new("ours"), Authority::new("others"));
    fs::write(folder.path().join("ca.pem"), ca.0.pem()).unwrap();
    for name in ["gateway", "ops", "probe"] {
        ca.issue(folder.path(), name);
    }
    other.issue(folder.path(), "stranger");
    let tls = "client-ca = \"ca.pem\"\ncertificate = \"gateway.pem\"\nkey = \"gateway.key\"\n\
        client-changers = [\"CN=ops,O=青山县\"]\n";
    let running = start(&node_in(folder.path(), "127.0.0.1:0", tls));
    let read = head("GET", "localhost", b"/healthz", &[], b"");
    let change = head("POST", "localhost", b"/purge?all", &[], b"");
    let status =
        |name: &str, raw: &[u8]| over_tls(running.admin, shows(folder.path(), name), raw).map(|answer| answer.status);
    assert_eq!((status("ops", &read), status("ops", &change)), (Some(200), Some(200)));
    assert_eq!((status("probe", &read), status("probe", &change)), (Some(200), Some(403)));
    assert_eq!(status("stranger", &read), None);
    let nobody = client::tls(&TLS13, &["http/1.1"]);
    assert!(over_tls(running.admin, nobody.clone(), &read).is_none());
    assert!(Conn::new(running.admin).send(&read, false).is_err(), "in the clear");
    assert_eq!(audited(folder.path())[1]["who"], "certificate CN=ops,O=青山县");
    // The command shows one, too, and knows the gateway by its own.
    let address = running.admin.to_string();
    let purge =
        |more: &[&str]| waypost(folder.path(), &[&["purge", "--all", "--admin", &address], more].concat(), None);
    let by =
        |name: &str| purge(&["--client-certificate", &format!("{name}.pem"), "--client-key", &format!("{name}.key")]);
    assert_eq!(out(&by("ops")), "purged\n");
    assert!(err(&by("probe")).contains("may read, and change nothing"), "{}", err(&by("probe")));
    assert_eq!((code(&by("stranger")), code(&purge(&[]))), (1, 1));
    running.stop();

    // With tokens, either will do.
    let token = tokens::add(&folder.path().join("tokens"), "deploy", Role::Change).unwrap();
    let running = start(&node_in(folder.path(), "127.0.0.1:0", &format!("{tls}tokens = \"tokens\"\n")));
    let (name, value) = bearer(&token);
    let with = head("POST", "localhost", b"/purge?all", &[(name, &value)], b"");
    let status =
        |config: Arc<ClientConfig>, raw: &[u8]| over_tls(running.admin, config, raw).map(|answer| answer.status);
    assert_eq!((status(nobody.clone(), &with), status(nobody, &read)), (Some(200), Some(401)));
    assert_eq!(status(shows(folder.path(), "probe"), &with), Some(200), "the token counts");
    assert_eq!(status(shows(folder.path(), "probe"), &change), Some(403));
    assert_eq!(status(shows(folder.path(), "stranger"), &with), None);
    let address = running.admin.to_string();
    let purge = |token| waypost(folder.path(), &["purge", "--all", "--admin", &address], token);
    assert_eq!(out(&purge(Some(&token))), "purged\n");
    // Somebody else at that address would not get the token.
    other.issue(folder.path(), "gateway");
    assert!(err(&purge(Some(&token))).contains("another certificate"), "{}", err(&purge(Some(&token))));
    running.stop();
}

#[test]
fn commands_find_the_address_and_show_a_token() {
    let (folder, gateway) = node("127.0.0.1:0", "tokens = \"tokens\"");
    let token = tokens::add(&folder.path().join("tokens"), "deploy", Role::Change).unwrap();
    let running = start(&gateway);
    // On all addresses, as the settings of a real node may say; asked at this machine's own.
    let settings = format!("[listen]\nadmin = \"0.0.0.0:{}\"\n[admin]\ntokens = \"tokens\"\n", running.admin.port());
    fs::write(folder.path().join("gateway.toml"), settings).unwrap();
    let purge =
        |more: &[&str], token| waypost(folder.path(), &[&["purge", "--host", "a.example"], more].concat(), token);
    assert_eq!(out(&purge(&[], Some(&token))), "purged\n");
    let file = folder.path().join("secret");
    fs::write(&file, format!("{token}\n")).unwrap();
    assert_eq!(out(&purge(&["--token-file", "secret"], None)), "purged\n");
    let refused = purge(&[], None);
    assert!(code(&refused) == 1 && err(&refused).contains("not purged: this needs a token"), "{}", err(&refused));
    assert!(err(&purge(&[], Some("waypost.deploy.x"))).contains("not good"));
    assert!(err(&purge(&[], Some("a b"))).contains("no token"));
    assert!(err(&purge(&["--token-file", "none"], None)).contains("can't read the token"));
    running.stop();
    assert!(err(&purge(&[], Some(&token))).contains("is it running?"));
}

#[test]
fn what_cannot_be_written_down_is_refused() {
    let (folder, gateway) = node("127.0.0.1:0", "audit = \"log/audit.jsonl\"");
    let running = start(&gateway);
    let answer = ask(running.admin, "POST", "/purge?all", &[]);
    assert_eq!(answer.status, 503);
    assert!(answer.text().starts_with("not done: ") && answer.text().contains("[admin] audit"), "{}", answer.text());
    fs::create_dir(folder.path().join("log")).unwrap();
    assert_eq!(ask(running.admin, "POST", "/purge?all", &[]).status, 200);
    running.stop();
}

#[test]
fn the_audit_log_is_checked_by_a_command() {
    let (folder, gateway) = node("127.0.0.1:0", "");
    let running = start(&gateway);
    for number in 0..3 {
        assert_eq!(ask(running.admin, "POST", &format!("/purge?tag={number}"), &[]).status, 200);
    }
    assert_eq!(ask(running.admin, "POST", "/purge?nothing", &[]).status, 400);
    running.stop();
    let verify = |more: &[&str]| waypost(folder.path(), &[&["audit", "verify"], more].concat(), None);
    let fine = verify(&[]);
    assert!(
        code(&fine) == 0 && out(&fine).starts_with("ok: 7 records, the last has number 7 and hash "),
        "{}",
        out(&fine)
    );
    let hash = out(&fine).trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!((code(&verify(&["--expect", &hash])), code(&verify(&["--expect", &"0".repeat(64)]))), (0, 1));
    assert_eq!(code(&verify(&["--expect", "abc"])), 2);
    assert_eq!(code(&verify(&["no.jsonl"])), 1);

    let path = folder.path().join("audit.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("tag=1", "tag=2")).unwrap();
    let edited = verify(&[]);
    let told: Vec<String> = out(&edited).lines().map(str::to_owned).collect();
    assert!(code(&edited) == 1 && told[0].contains("audit.jsonl:4: it was edited"), "{told:?}");
    assert!(told[1].contains("audit.jsonl:5: it was edited") && told[2].starts_with("NOT ok: 5 records"), "{told:?}");
    fs::write(&path, text.lines().take(5).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let report: Value = serde_json::from_str(&out(&verify(&["--json"]))).unwrap();
    let fault = &report["faults"][0];
    assert_eq!(fault["line"], 5);
    assert!(fault["message"].as_str().unwrap().contains("the end is missing"), "{report}");
}

#[test]
fn processes_that_write_at_the_same_time_keep_the_chain() {
    let (folder, gateway) = node("127.0.0.1:0", "tokens = \"tokens\"");
    let ops = tokens::add(&folder.path().join("tokens"), "ops", Role::Change).unwrap();
    // As during an upgrade: two gateways, and a command.
    let (one, other) = (start(&gateway), start(&gateway));
    std::thread::scope(|scope| {
        for address in [one.admin, other.admin] {
            let ops = &ops;
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(with_token(address, "POST", "/purge?all", ops).status, 200);
                }
            });
        }
        for number in 0..5 {
            let made = waypost(folder.path(), &["admin", "token", &format!("probe-{number}")], None);
            assert_eq!(code(&made), 0, "{}", err(&made));
        }
    });
    one.stop();
    other.stop();
    let verified = out(&waypost(folder.path(), &["audit", "verify"], None));
    assert!(verified.starts_with("ok: 91 records"), "{verified}");
}

#[test]
fn connections_are_bounded() {
    let (_folder, gateway) = node("127.0.0.1:0", "");
    let running = start(&gateway);
    let open = |last: u8| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
        socket.connect(&running.admin.into()).unwrap();
        socket.set_read_timeout(Some(client::PATIENCE)).unwrap();
        TcpStream::from(socket)
    };
    let lives = |stream: &mut TcpStream| {
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0)
    };
    // One client has 32, all have 128.
    let mut streams: Vec<TcpStream> = (0..128).map(|number| open(2 + number / 32)).collect();
    assert!(streams.iter_mut().all(&lives));
    assert!(!lives(&mut open(6)) && !lives(&mut open(2)));
    drop(streams.pop());
    program::until("room", || lives(&mut open(6)));
    assert!(!lives(&mut open(2)), "there is room, and not for everybody");
    running.stop();
}
