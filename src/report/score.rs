//! How owners are ranked.
//!
//! Four parts, each a share of 100 %: coverage of old URLs (40), availability of homes (40), hosts with a valid certificate
//! (10), homes that open by IPv6 (10). What nothing is known of is left out, and the others count for it. Whoever has a veto
//! comes to 0: by the checklist nothing else counts then.

use super::{OwnerRow, Summary, share};

/// The points of an owner's sums, of 10,000; none if nothing is known.
pub fn score(summary: &Summary) -> Option<u64> {
    if summary.vetoes > 0 {
        return Some(0);
    }
    let parts = [
        (40, summary.coverage),
        (40, summary.availability),
        (10, share(summary.covered_hosts, summary.hosts)),
        (10, share(summary.ipv6, summary.pages)),
    ];
    let known = parts.iter().filter_map(|(weight, part)| Some((weight, (*part)?)));
    let (weights, points) =
        known.fold((0, 0), |(weights, points), (weight, part)| (weights + weight, points + weight * part));
    u64::checked_div(points, weights)
}

/// Puts owners in order: most points first, of equal ones who has most hits.
pub(super) fn rank(owners: &mut [OwnerRow]) {
    for owner in owners.iter_mut() {
        owner.score = score(&owner.summary);
    }
    owners.sort_by(|one, other| {
        let key = |row: &OwnerRow| (row.score, row.summary.hits);
        key(other).cmp(&key(one)).then_with(|| one.owner.cmp(&other.owner))
    });
    for at in 0..owners.len() {
        let is_same = at > 0 && owners[at - 1].score == owners[at].score;
        owners[at].rank = if is_same { owners[at - 1].rank } else { at + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points() {
        let good = Summary {
            coverage: Some(9_000),
            availability: Some(10_000),
            hosts: 4,
            covered_hosts: 2,
            pages: 2,
            ipv6: 0,
            ..Summary::default()
        };
        assert_eq!(score(&good), Some((40 * 9_000 + 40 * 10_000 + 10 * 5_000) / 100));
        // What is not known is left out.
        let unvisited = Summary { availability: None, pages: 0, ..good };
        assert_eq!(score(&unvisited), Some((40 * 9_000 + 10 * 5_000) / 50));
        assert_eq!(score(&Summary::default()), None);
        assert_eq!(score(&Summary { vetoes: 1, ..good }), Some(0));
    }

    #[test]
    fn equals_share_a_place() {
        let owner = |name: &str, coverage, hits| OwnerRow {
            owner: name.to_owned(),
            summary: Summary { coverage, hits, ..Summary::default() },
            ..OwnerRow::default()
        };
        let mut owners = [owner("a", None, 0), owner("b", Some(5), 1), owner("c", Some(5), 2), owner("d", Some(9), 0)];
        rank(&mut owners);
        let told = owners.map(|row| (row.owner, row.rank));
        assert_eq!(told, [("d", 1), ("c", 2), ("b", 2), ("a", 4)].map(|(name, rank)| (name.to_owned(), rank)));
    }
}
