"""The report: Markdown with tables, a chart (SVG), and everything as JSON."""

import json
import os
import platform
import statistics
import time
from html import escape

LANES = {
    "h1": "redirects, H1",
    "h1s": "redirects, H1 + TLS 1.3",
    "h2": "redirects, H2 + TLS 1.3",
    "full": "visits, full TLS 1.3 handshake",
    "resumed": "visits, resumed TLS 1.3",
    "full12": "visits, full TLS 1.2 handshake",
    "resumed12": "visits, resumed TLS 1.2",
    "hybrid": "visits, full TLS 1.3, X25519MLKEM768",
}

# Ratios to nginx per CPU-second that Waypost is meant to reach.
TARGETS = {"h1": 1.3, "h1s": 1.8, "h2": 1.8, "full": 2.0, "resumed": 1.8}

# Figures where less is better: key, title, how to print one.
COSTS = {
    "memory": ("memory with the table", lambda v: f"{v / 2**20:,.0f} MiB"),
    "idle": ("memory per idle connection, plain", lambda v: f"{v / 1024:.1f} KiB"),
    "idles": ("memory per idle connection, TLS", lambda v: f"{v / 1024:.1f} KiB"),
    "load": ("start to first right answer", lambda v: f"{v:.2f} s"),
    "live": ("changed line live", lambda v: f"{v:.3f} s"),
}

REFERENCE, SUBJECT = "nginx", "waypost"


def machine():
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count(),
        "model": model,
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "load_before": os.getloadavg()[0],
    }


def median(peer, lane, figure):
    """The median over the rounds of a lane, or None."""
    rounds = peer["lanes"].get(lane, {}).get("rounds")
    return statistics.median(map(figure, rounds)) if rounds else None


def per_cpu(seen):
    return seen["requests"] / max(seen["cpu"], 0.01)


def per_second(seen):
    return seen["requests"] / seen["seconds"]


def cost(peer, key):
    value = peer.get(key)
    if isinstance(value, list):
        return statistics.median(value) if value else None
    return value


def ratios(peers, lane):
    """Waypost to nginx, round by round."""

    def rounds(name):
        return peers.get(name, {}).get("lanes", {}).get(lane, {}).get("rounds", [])

    return [per_cpu(a) / per_cpu(b) for a, b in zip(rounds(SUBJECT), rounds(REFERENCE))]


def write(results, folder):
    (folder / "report.json").write_text(json.dumps(results, indent=1))
    (folder / "report.svg").write_text(chart(results))
    (folder / "report.md").write_text(markdown(results))


def table(head, rows):
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown(results):
    peers, options, host = results["peers"], results["options"], results["machine"]
    lanes = [lane for lane in LANES if any(lane in peer["lanes"] for peer in peers.values())]
    names = list(peers)
    out = [
        "# Waypost and its peers\n\n"
        f"{host['date']}, {host['cores']} cores ({host['model']}), {host['memory']}, Linux {host['kernel']}; "
        f"load before the run {host['load_before']:.1f}. {options['rounds']} rounds of {options['seconds']:g} s per lane and server, "
        f"medians; {options['connections']} connections, {options['streams']} streams each on HTTP/2; server on one core, "
        "load on the other. In parentheses: the ratio to nginx.\n"
    ]
    seen = [one for peer in peers.values() for lane in peer["lanes"].values() for one in lane["rounds"]]
    noise = statistics.mean(one["others"] for one in seen) if seen else 0
    if noise > 0.03:
        out.append(f"\n**Noisy: other programs took {noise:.0%} of the machine meanwhile. Run it on a quiet one.**\n")
    out.append("\n![chart](report.svg)\n")

    if SUBJECT in peers and REFERENCE in peers:
        rows = [[LANES[lane], f"≥ {TARGETS[lane]}", *verdict(ratios(peers, lane), TARGETS[lane])] for lane in TARGETS]
        for key, target, factor in (("memory", "less", 1), ("load", "less", 1), ("live", "≥ 20 x sooner", 20)):
            pair = [cost(peers[name], key) for name in (SUBJECT, REFERENCE)]
            if None not in pair:
                better = pair[1] / pair[0]
                rows.append(
                    [COSTS[key][0], target, f"{better:.2f} x better", "", "yes" if better >= factor else "**no**"]
                )
        out.append(
            "\n## Targets: Waypost to nginx, per CPU-second of the server\n\n"
            + table(["", "target", "reached", "rounds", "met"], rows)
        )

    def figures(title, figure, form, ratio=True):
        rows = []
        for lane in lanes:
            base = median(peers.get(REFERENCE, {"lanes": {}}), lane, figure)
            cells = []
            for name in names:
                value = median(peers[name], lane, figure)
                cells.append(
                    "—" if value is None else form(value) + (f" ({value / base:.2f})" if ratio and base else "")
                )
            rows.append([LANES[lane], *cells])
        out.append(f"\n## {title}\n\n" + table(["", *names], rows))

    figures("Per CPU-second of the server", per_cpu, lambda v: f"{v:,.0f}")
    figures("Per second", per_second, lambda v: f"{v:,.0f}")
    figures(
        "How busy the server's core was", lambda seen: seen["cpu"] / seen["seconds"], lambda v: f"{v:.0%}", ratio=False
    )
    figures(
        "Latency p50, ms (of a visit: with TCP and TLS)",
        lambda seen: seen["p50"] / 1000,
        lambda v: f"{v:.2f}",
        ratio=False,
    )
    figures("Latency p99, ms", lambda seen: seen["p99"] / 1000, lambda v: f"{v:.2f}", ratio=False)

    rows = [["mappings", *(f"{peers[name]['mappings']:,}" if "mappings" in peers[name] else "—" for name in names)]]
    for key, (title, form) in COSTS.items():
        base = cost(peers.get(REFERENCE, {}), key)
        values = [cost(peers[name], key) for name in names]
        rows.append([title, *("—" if v is None else form(v) + (f" ({v / base:.2f})" if base else "") for v in values)])
    rows.append(
        [
            "bytes of a redirect, H1 (body)",
            *(
                (
                    "{answer_bytes} ({body_bytes})".format(**peers[name]["lanes"]["h1"]["answer"])
                    if "h1" in peers[name]["lanes"]
                    else "—"
                )
                for name in names
            ),
        ]
    )
    out.append("\n## Memory and time\n\n" + table(["", *names], rows))

    out.append("\n## What was measured\n\n")
    for name, peer in peers.items():
        out.append(f"- **{name}**: {peer['version']}. " + "; ".join(peer["notes"]) + ".\n")
        for lane, why in peer["missing"].items():
            out.append(f"  - {LANES[lane]}: missing ({why})\n")
        shakes = sorted(
            {seen["handshake"] for lane in peer["lanes"].values() for seen in lane["rounds"] if seen["handshake"]}
        )
        if shakes:
            out.append(f"  - handshakes: {'; '.join(shakes)}\n")
    sent = "only Host is sent" if options["bare"] else "requests have a browser's headers"
    out.append(f"""
The load generator is tests/bench/peers/load. Each connection has a client address of its own. A plain connection asks for
random URLs of all hosts, a TLS connection for those of its own host, which is its SNI; {sent}. Every status is checked,
and of 100 URLs per lane the Location. A visit is a TCP connection, a handshake, one redirect over H1, and the end; X25519
for all. At least 99 % of the resumed ones resumed. One self-signed ECDSA P-256 certificate, a wildcard.

CPU time is user and system time of all processes of a server (/proc/PID/stat), memory their PSS; the memory per
connection is measured over {options['idle']:,} that have asked once, of a server with a redirect per host, without the
kernel's. A change is the new file moved over the old one plus what the server is told; new connections ask until they see
it.
""")
    return "".join(out)


def verdict(rounds, target):
    if not rounds:
        return "—", "", "not measured"
    middle = statistics.median(rounds)
    return f"{middle:.2f}", f"{min(rounds):.2f} to {max(rounds):.2f}", "yes" if middle >= target else "**no**"


def chart(results):
    """Small panels of bars, one per figure, a bar per server."""
    peers = results["peers"]
    names = list(peers)
    panels = []
    for lane, title in LANES.items():
        values = [median(peers[name], lane, per_cpu) for name in names]
        if any(values):
            panels.append((f"{title} per CPU-second", values, lambda v: f"{v:,.0f}"))
    for key, (title, form) in COSTS.items():
        values = [cost(peers[name], key) for name in names]
        if any(value is not None for value in values):
            panels.append((f"{title} (less is better)", values, form))
    columns, width, bar, label, full = 2, 520, 20, 100, 300
    height = 44 + bar * len(names)
    lines = -(-len(panels) // columns)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * width}" height="{lines * height + 10}" '
        'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
    ]
    for number, (title, values, form) in enumerate(panels):
        x, y = number % columns * width + 12, number // columns * height + 24
        out.append(f'<text x="{x}" y="{y}" font-weight="bold">{escape(title)}</text>\n')
        # Negative: the memory shrank by noise.
        most = max((value for value in values if value), default=1)
        for place, (name, value) in enumerate(zip(names, values)):
            top = y + 8 + place * bar
            colour = {SUBJECT: "#c4122f", REFERENCE: "#2f6f4f"}.get(name, "#8a94a6")
            out.append(f'<text x="{x + label - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>')
            if value is None:
                out.append(f'<text x="{x + label}" y="{top + 13}" fill="#888">not measured</text>\n')
                continue
            length = max(1, full * max(0, value) / most)
            out.append(
                f'<rect x="{x + label}" y="{top + 2}" width="{length:.1f}" height="{bar - 5}" fill="{colour}"/>'
                f'<text x="{x + label + length + 5:.1f}" y="{top + 13}">{escape(form(value))}</text>\n'
            )
    return "".join([*out, "</svg>\n"])
