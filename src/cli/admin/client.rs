//! Asking the running gateway at its admin address.

use std::{
    env, fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error as TlsError, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use crate::config::{Address, Gateway};

/// How the admin address is reached, beside what gateway.toml says.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct AdminArgs {
    /// Admin address of the running gateway, if it was started with --admin.
    #[arg(long, value_name = "ADDR")]
    admin: Option<Address>,
    /// File with the token to show, where `[admin]` tokens asks for one; the environment variable WAYPOST_TOKEN has it otherwise.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Client certificate (PEM) to show, where `[admin]` client-ca asks for one.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// Key (PEM) of --client-certificate.
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
}

/// An answer of the running gateway.
pub(in crate::cli) struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub text: String,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Method {
    /// It asks.
    Get,
    /// It changes something.
    Post,
}

/// Sends a request that is nothing but its target.
pub(in crate::cli) fn ask(gateway: &Gateway, args: &AdminArgs, method: Method, target: &str) -> anyhow::Result<Answer> {
    let address = args.admin.as_ref().unwrap_or(&gateway.admin);
    let token = token(args)?;
    let tls = tls(gateway, args)?;
    let host = host(address);
    let (method, length) = match method {
        Method::Get => ("GET", ""),
        Method::Post => ("POST", "Content-Length: 0\r\n"),
    };
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{length}Connection: close\r\n");
    if let Some(token) = token {
        request += &format!("Authorization: Bearer {token}\r\n");
    }
    request += "\r\n";
    let unreachable = || format!("the gateway at {address} can't be asked: is it running?");
    let answer = connect(address).and_then(|stream| exchange(stream, tls, &request)).with_context(unreachable)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.with_context(|| format!("what answers at {address} is no gateway"))?;
    Ok(Answer { status, text: body.to_owned() })
}

/// The token, where there is one.
fn token(args: &AdminArgs) -> anyhow::Result<Option<String>> {
    let token = match (&args.token_file, env::var(TOKEN_VARIABLE)) {
        (Some(file), _) => {
            Some(fs::read_to_string(file).with_context(|| format!("can't read the token in {}", file.display()))?)
        }
        (None, Ok(token)) => Some(token),
        (None, Err(_)) => None,
    };
    let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        bail!("this is no token: it has spaces or control characters");
    }
    Ok(token)
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn connect(address: &Address) -> anyhow::Result<Box<dyn Stream>> {
    match address {
        Address::Inet(inet) => {
            let stream = TcpStream::connect_timeout(&reachable(*inet), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Box::new(stream))
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Box::new(stream))
        }
    }
}

fn exchange(stream: Box<dyn Stream>, tls: Option<ClientConfig>, request: &str) -> anyhow::Result<String> {
    let mut stream = match tls {
        None => stream,
        Some(config) => {
            let name = ServerName::IpAddress(IpAddr::from(Ipv4Addr::LOCALHOST).into());
            Box::new(StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, stream))
        }
    };
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.take(MAX_ANSWER).read_to_end(&mut answer) {
        // A TLS connection that is not closed as it should be has been answered all the same.
        Err(error) if answer.is_empty() => return Err(error.into()),
        _ => {}
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What listens on all addresses is reached on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn host(address: &Address) -> String {
    match address {
        Address::Inet(inet) => reachable(*inet).to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    }
}

/// How TLS is spoken; none where the gateway doesn't. It must show the very certificate that gateway.toml names.
fn tls(gateway: &Gateway, args: &AdminArgs) -> anyhow::Result<Option<ClientConfig>> {
    let Some(identity) = &gateway.admin_settings.identity else { return Ok(None) };
    let provider = Arc::new(crate::tls::provider());
    let certificate = identity.chain.certificates.first().context("[admin] certificate is empty")?;
    let verifier = Pinned { certificate: certificate.clone(), provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match (&args.client_certificate, &args.client_key) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_slice_iter(&read(certificate)?).collect::<Result<Vec<_>, _>>();
            let key = PrivateKeyDer::from_pem_slice(&read(key)?);
            let chain = chain.with_context(|| format!("{} holds no certificates in PEM", certificate.display()))?;
            let key = key.context("--client-key holds no private key in PEM")?;
            builder.with_client_auth_cert(chain, key)?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Some(config))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

/// Trusts one certificate, whatever its names and dates: the gateway's own, as its settings name it.
#[derive(Debug)]
struct Pinned {
    certificate: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match **end_entity == *self.certificate {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(TlsError::General("it shows another certificate than [admin] names".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

const TOKEN_VARIABLE: &str = "WAYPOST_TOKEN";

const PATIENCE: Duration = Duration::from_secs(10);

const MAX_ANSWER: u64 = 16 << 20;
