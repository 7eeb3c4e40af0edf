//! What the guard's look-ups cost.
//!
//! `cargo bench --bench guard` prints the figures; `-- --prefixes N` sets how many prefixes of each protocol a set has
//! (100,000).

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use waypost::guard::addresses::AddressSet;

const ROUNDS: usize = 7;
const LOOKUPS: usize = 1_000_000;

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != "--prefixes");
    let prefixes = args.nth(1).and_then(|value| value.parse().ok()).unwrap_or(100_000);
    addresses(prefixes);
}

fn addresses(prefixes: usize) {
    let mut random = Random(7);
    let v4: Vec<IpNet> = (0..prefixes)
        .map(|_| {
            let address = Ipv4Addr::from_bits(random.next() as u32);
            Ipv4Net::new_assert(address, 20 + (random.next() % 13) as u8).into()
        })
        .collect();
    let v6: Vec<IpNet> = (0..prefixes)
        .map(|_| {
            let address = Ipv6Addr::from_bits(0x2000_u128 << 112 | u128::from(random.next()) << 48);
            Ipv6Net::new_assert(address, 32 + (random.next() % 33) as u8).into()
        })
        .collect();
    let start = Instant::now();
    let set: AddressSet = v4.iter().chain(&v6).copied().collect();
    println!(
        "addresses: {} prefixes, {} ranges, {:.1} MB, built in {:.0} ms",
        2 * prefixes,
        set.ranges(),
        set.bytes() as f64 / 1e6,
        start.elapsed().as_secs_f64() * 1e3
    );
    let mut v4_address = |random: &mut Random| IpAddr::V4(Ipv4Addr::from_bits(random.next() as u32));
    let mut v6_address =
        |random: &mut Random| IpAddr::V6(Ipv6Addr::from_bits(0x2000_u128 << 112 | u128::from(random.next()) << 48));
    for (name, address) in
        [("IPv4", &mut v4_address as &mut dyn FnMut(&mut Random) -> IpAddr), ("IPv6", &mut v6_address)]
    {
        let asked: Vec<IpAddr> = (0..LOOKUPS).map(|_| address(&mut random)).collect();
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                let hits = asked.iter().filter(|address| set.contains(**address)).count();
                black_box(hits);
                start.elapsed().as_secs_f64() * 1e9 / LOOKUPS as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        println!(
            "  {name} look-up          {:.0} ns, worst round {:.0} ns   (target < 1000 ns)",
            rounds[ROUNDS / 2],
            rounds[ROUNDS - 1]
        );
    }
}

/// SplitMix64: the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
