//! TLS as the client speaks it.

use std::sync::Arc;

use anyhow::anyhow;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use crate::options::Options;

/// X25519 unless `--hybrid`, since not every peer has the hybrid group; no signature is verified unless `--check`, so that
/// the client's work isn't the limit.
pub fn client_config(options: &Options) -> anyhow::Result<ClientConfig> {
    let provider = CryptoProvider {
        kx_groups: if options.hybrid {
            vec![aws_lc_rs::kx_group::X25519MLKEM768]
        } else {
            // TLS 1.2 wants the certificate's curve among them.
            vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1]
        },
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ],
        ..aws_lc_rs::default_provider()
    };
    let provider = Arc::new(provider);
    let versions: &[_] = if options.tls12 { &[&TLS12] } else { &[&TLS13] };
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let mut config = if options.check > 0 && !options.ca.is_empty() {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&options.ca).map_err(|error| anyhow!("{}: {error}", options.ca))?)?;
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))).with_no_client_auth()
    };
    config.alpn_protocols = vec![if options.lane == "h2" { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    config.resumption =
        if options.lane == "resumed" { Resumption::in_memory_sessions(4096) } else { Resumption::disabled() };
    Ok(config)
}

/// Takes any certificate.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
