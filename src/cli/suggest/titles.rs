//! Titles, from where pages are: of old ones at the old server or an archive, of new ones on the platform.

use std::{collections::HashMap, path::PathBuf};

use anyhow::{Context, bail};
use tokio::{
    runtime::Builder,
    task::{JoinSet, LocalSet},
};

use super::gather::Gathered;
use crate::model::Phase;
use crate::robot::{Limits, Permission, Resolve, Robot, RobotSettings, Url};
use crate::routing::SiteTable;
use crate::url::to_wire;

/// Whether and how titles are fetched.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TitleArgs {
    /// Fetch the titles of pages that have none: old ones from the old server (see --resolve) or --archive, new ones from the
    /// platform; slowly, and only where robots.txt allows it.
    #[arg(long)]
    fetch_titles: bool,
    /// How many titles of old pages are fetched at most, and how many of new ones.
    #[arg(long, value_name = "N", default_value_t = 2000, requires = "fetch_titles")]
    fetch_top: usize,
    /// Requests to a host in a second.
    #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = rate, requires = "fetch_titles")]
    rate: f64,
    /// Where a host is, whatever DNS says, as HOST:PORT:ADDRESS: the old server, for example. May be given several times.
    #[arg(long, value_name = "HOST:PORT:ADDR", requires = "fetch_titles")]
    resolve: Vec<Resolve>,
    /// Where old pages are archived: `{url}` stands for the old URL, as in `https://archive.example/{url}`.
    #[arg(long, value_name = "URL", requires = "fetch_titles")]
    archive: Option<String>,
    /// A PEM file with authorities to be trusted besides those that browsers know.
    #[arg(long, value_name = "FILE", requires = "fetch_titles")]
    authorities: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.01..=1000.0).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is no rate: requests a second, from 0.01 to 1000"))
}

impl TitleArgs {
    /// Fetches what is missing, if that was asked for.
    pub fn fetch(&self, site: &SiteTable, now: i64, gathered: &mut Gathered) -> anyhow::Result<()> {
        if !self.fetch_titles {
            return Ok(());
        }
        let Some(host) = site.main_host() else { bail!("the site has no host of which pages could be asked for") };
        if self.archive.is_none() && self.resolve.is_empty() && site.lifecycle.at(now) != Phase::Proxy {
            bail!(
                "the site is past its phase `proxy`, and its hosts lead to the gateway: say where the old server is \
                   (--resolve {host}:80:ADDRESS), or an --archive"
            );
        }
        let charset = site.canonicalizer.settings().charset;
        let old = |key: &str| {
            let url = format!("http://{host}{}", to_wire(key, charset));
            Url::parse(&self.archive.as_ref().map_or(url.clone(), |archive| archive.replace("{url}", &url))).ok()
        };
        let material = &gathered.material;
        let untitled = material.olds.iter().enumerate().filter(|(_, old)| old.title.is_none());
        let olds = untitled.filter_map(|(n, page)| Some((n, old(&page.key)?))).take(self.fetch_top).collect();
        let untitled = material.pages.iter().enumerate().filter(|(_, page)| page.title.is_none());
        let pages =
            untitled.filter_map(|(n, page)| Some((n, Url::parse(&page.url).ok()?))).take(self.fetch_top).collect();
        let settings = RobotSettings {
            rate: self.rate,
            resolve: self.resolve.clone(),
            authorities: self.authorities.clone(),
            purpose: "suggest",
            ..RobotSettings::default()
        };
        let robot = Robot::new(&settings).context("can't fetch titles")?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (olds, pages) =
            LocalSet::new().block_on(&runtime, async { tokio::join!(titles(&robot, olds), titles(&robot, pages)) });
        let asked = |found: &HashMap<usize, Option<String>>| (found.values().flatten().count(), found.len());
        let ((of_olds, all_olds), (of_pages, all_pages)) = (asked(&olds), asked(&pages));
        gathered.notes.push(format!(
            "titles were fetched of {of_olds} of {all_olds} old pages, and of {of_pages} of {all_pages} new ones"
        ));
        olds.into_iter().for_each(|(n, title)| gathered.material.olds[n].title = title);
        pages.into_iter().for_each(|(n, title)| gathered.material.pages[n].title = title);
        Ok(())
    }
}

/// The titles of pages that answer 200.
async fn titles(robot: &Robot, pages: Vec<(usize, Url)>) -> HashMap<usize, Option<String>> {
    let mut found = HashMap::new();
    let mut pages = pages.into_iter();
    let mut asked = JoinSet::new();
    loop {
        while asked.len() < AT_ONCE
            && let Some((n, url)) = pages.next()
        {
            let robot = robot.clone();
            asked.spawn_local(async move { (n, title(&robot, &url).await) });
        }
        match asked.join_next().await {
            Some(joined) => found.extend(joined),
            None => return found,
        }
    }
}

async fn title(robot: &Robot, url: &Url) -> Option<String> {
    if robot.permission(url).await != Permission::Granted {
        return None;
    }
    let limits = Limits { body: BODY, ..Limits::default() };
    let page = robot.get(url, &limits).await.ok().filter(|page| page.status == 200)?;
    page.document().title
}

/// Requests that wait for their turn; most of them do, for the same host's.
const AT_ONCE: usize = 64;
/// A title stands at the beginning.
const BODY: usize = 64 << 10;
