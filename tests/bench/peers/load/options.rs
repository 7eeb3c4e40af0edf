//! The command line.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};

/// What the top of main.rs describes.
#[derive(Debug)]
pub struct Options {
    pub lane: String,
    pub address: SocketAddr,
    pub urls: String,
    pub ca: String,
    pub seconds: f64,
    pub warm_up: f64,
    pub connections: usize,
    pub streams: usize,
    pub check: usize,
    pub seed: u64,
    pub tls12: bool,
    pub hybrid: bool,
    pub bare: bool,
    pub pids: Vec<u32>,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub fn read(mut args: impl Iterator<Item = String>) -> anyhow::Result<Options> {
        let mut options = Options {
            lane: args.next().context("usage: load LANE --address A --urls FILE …; see the top of load/main.rs")?,
            address: SocketAddr::from(([127, 0, 0, 1], 80)),
            urls: String::new(),
            ca: String::new(),
            seconds: 4.0,
            warm_up: 0.5,
            connections: 64,
            streams: 4,
            check: 0,
            seed: 1,
            tls12: false,
            hybrid: false,
            bare: false,
            pids: Vec::new(),
        };
        while let Some(flag) = args.next() {
            let mut value = || args.next().with_context(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--address" => options.address = value()?.parse()?,
                "--urls" => options.urls = value()?,
                "--ca" => options.ca = value()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--warm-up" => options.warm_up = value()?.parse()?,
                "--connections" => options.connections = value()?.parse()?,
                "--streams" => options.streams = value()?.parse()?,
                "--check" => options.check = value()?.parse()?,
                "--seed" => options.seed = value()?.parse()?,
                "--tls12" => options.tls12 = true,
                "--hybrid" => options.hybrid = true,
                "--bare" => options.bare = true,
                "--pids" => options.pids = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                _ => bail!("unknown flag {flag}"),
            }
        }
        Ok(options)
    }
}
