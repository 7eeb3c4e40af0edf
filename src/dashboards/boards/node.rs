//! The nodes themselves.

use super::super::dashboard::{Choice, Dashboard};
use super::super::names::*;
use super::super::panel::{RED_ABOVE_0, Unit::*, View::*, panel};
use super::super::query::{
    CPU, INSTANCE, JOB, MAX_FDS, NODES, OPEN_FDS, RESIDENT, SCRAPE_DURATION, SCRAPE_SAMPLES, STARTED, Series, THREADS,
    VIRTUAL, age, here,
};

/// Of the process: told on `/metrics` alone.
fn process(family: Family) -> Series {
    here(family).is(JOB, NODES)
}

pub(super) fn dashboard() -> Dashboard {
    let node = &[INSTANCE];
    Dashboard {
        uid: "waypost-node",
        title: "nodes",
        about: "How the gateway's own processes do: load, latency, reloads, and what they write.",
        choices: &[Choice::Nodes],
        rows: vec![
            (
                "Process",
                vec![
                    panel(
                        Table,
                        Text,
                        "Running",
                        "运行中",
                        "Version of each node, and since when it runs. Two versions for long: an upgrade stopped \
                        half-way.",
                    )
                    .label(INSTANCE, "Node", None)
                    .label(VERSION, "Version", None)
                    .column(
                        "Up since",
                        Seconds,
                        format!(
                            "{} * on ({INSTANCE}) group_left () ({})",
                            here(BUILD_INFO).max(&[INSTANCE, VERSION]),
                            age(&process(STARTED).max(node))
                        ),
                    )
                    .size(12, 8),
                    panel(
                        Lines,
                        Count,
                        "Processors in use",
                        "CPU",
                        "Processors that are busy, of as many as there are threads. Near the line for minutes: \
                        more cores, or another node (runbook, WaypostNodeSaturated).",
                    )
                    .ask("{{instance}}", process(CPU).rate(node))
                    .ask("{{instance}} threads", here(WORKERS).sum(node)),
                    panel(
                        Lines,
                        Bytes,
                        "Memory",
                        "内存",
                        "Resident is what counts. It steps up with the mapping tables and the cache; one that \
                        climbs for days is a leak: report it.",
                    )
                    .ask("{{instance}} resident", process(RESIDENT).sum(node))
                    .ask("{{instance}} virtual", process(VIRTUAL).sum(node))
                    .size(8, 8),
                    panel(
                        Lines,
                        Share,
                        "Files and sockets",
                        "文件描述符",
                        "Share of what the process may open. Near 1: LimitNOFILE of the service.",
                    )
                    .ask("{{instance}}", format!("{} / {}", process(OPEN_FDS).sum(node), process(MAX_FDS).sum(node)))
                    .steps(&[(0.9, "red")])
                    .up_to(1.0)
                    .size(8, 8),
                    panel(Lines, Count, "Threads", "线程", "All threads of the process.")
                        .ask("{{instance}}", process(THREADS).sum(node))
                        .size(8, 8),
                ],
            ),
            (
                "Connections",
                vec![
                    panel(
                        Lines,
                        Count,
                        "Open",
                        "打开的连接",
                        "Connections that are open, and how many may be ([limits] connections).",
                    )
                    .ask("{{instance}} {{listener}}", here(CONNECTIONS_OPEN).sum(&[INSTANCE, LISTENER]))
                    .ask("{{instance}} limit", here(CONNECTIONS_LIMIT).sum(node)),
                    panel(
                        Lines,
                        PerSecond,
                        "Accepted and refused",
                        "新连接",
                        "New connections. Many more than requests: clients, or a load balancer, that don't keep \
                        connections.",
                    )
                    .ask("{{listener}}", here(CONNECTIONS_ACCEPTED).rate(&[LISTENER]))
                    .ask("refused", here(CONNECTIONS_REFUSED).rate(&[])),
                ],
            ),
            (
                "Latency",
                vec![
                    panel(
                        Heatmap,
                        Requests,
                        "Time of a request",
                        "响应时间分布",
                        "How many requests took how long. Two bands are usual: answers of our own (below 1 ms), \
                        and platforms.",
                    )
                    .ask("{{le}}", here(REQUEST_DURATION).buckets()),
                    panel(
                        Lines,
                        Seconds,
                        "99 of 100 requests, by outcome",
                        "各结果 P99",
                        "`redirect` should stay below a millisecond; if it does not, the node is short of \
                        processors.",
                    )
                    .ask("{{outcome}}", here(REQUEST_DURATION).quantile(0.99, &[OUTCOME])),
                ],
            ),
            (
                "Routes",
                vec![
                    panel(
                        Lines,
                        Count,
                        "Reloads",
                        "重载",
                        "Reloads around each point of time. partial: some sites keep their last good table. \
                        failed: all do; the log and /readyz say why.",
                    )
                    .ask("{{result}}", here(RELOADS).increase(&[RESULT]))
                    .size(8, 8),
                    panel(
                        Lines,
                        Seconds,
                        "Time of a reload, and since the last",
                        "重载用时",
                        "A reload takes well under a second but for the first. Since: files that change are live \
                        within a second or two, else look at the log.",
                    )
                    .ask("{{instance}} took", here(RELOAD_DURATION).max(node))
                    .ask("{{instance}} since the last", age(&here(RELOAD_LAST).max(node)))
                    .ask("{{instance}} since the last good one", age(&here(RELOAD_LAST_SUCCESS).max(node)))
                    .size(8, 8),
                    panel(
                        Lines,
                        Count,
                        "Findings",
                        "诊断",
                        "Errors and warnings in the routes now; `waypost check` shows each.",
                    )
                    .ask("{{severity}}", here(DIAGNOSTICS).max(&[SEVERITY]))
                    .size(8, 8),
                    panel(
                        Lines,
                        Count,
                        "Hosts and rules",
                        "主机与规则",
                        "What is live. All nodes should have the same.",
                    )
                    .ask("{{instance}} hosts", here(SNAPSHOT_HOSTS).sum(node))
                    .ask("{{instance}} rules", here(SNAPSHOT_RULES).sum(node))
                    .size(8, 8),
                    panel(Lines, Count, "Mappings", "映射", "Exact mappings that are live.")
                        .ask("{{instance}}", here(SNAPSHOT_MAPPINGS).sum(node))
                        .size(8, 8),
                    panel(
                        Lines,
                        Bytes,
                        "Memory of the mappings",
                        "映射内存",
                        "Bytes of the live tables. While a site is swapped, its old and new table are there at \
                        once.",
                    )
                    .ask("{{instance}}", here(SNAPSHOT_MAPPING_BYTES).sum(node))
                    .size(8, 8),
                ],
            ),
            (
                "Access log and hits",
                vec![
                    panel(
                        Stat,
                        Yes,
                        "Log failing",
                        "日志写入失败",
                        "Lines can't be written now: the disk is full, or failing (runbook, \
                        WaypostAccessLogFailing).",
                    )
                    .ask("failing", here(ACCESS_LOG_FAILING).max(&[]))
                    .steps(RED_ABOVE_0),
                    panel(
                        Stat,
                        Yes,
                        "Kept too short",
                        "日志保存期不足",
                        "Files were removed before six months were over, because all may take no more bytes: \
                        more disk, and [log] size.",
                    )
                    .ask("short", here(ACCESS_LOG_SHORT).max(&[]))
                    .steps(RED_ABOVE_0),
                    panel(
                        Stat,
                        Seconds,
                        "Oldest log",
                        "最早的日志",
                        "Age of the oldest file of the access log. The law wants six months, once the gateway \
                        runs that long.",
                    )
                    .ask("oldest", age(&here(ACCESS_LOG_OLDEST).max(&[]))),
                    panel(Stat, Bytes, "Size of the log", "日志大小", "Bytes of all its files.")
                        .ask("bytes", here(ACCESS_LOG_BYTES).sum(&[])),
                    panel(
                        Stat,
                        Seconds,
                        "Since hits were saved",
                        "上次保存",
                        "They are saved every minute. Longer: the database is away, or its disk is full \
                        (runbook, WaypostHitsNotSaved).",
                    )
                    .ask("since", age(&here(HITS_LAST_FLUSH).min(&[])))
                    .steps(&[(300.0, "orange"), (600.0, "red")]),
                    panel(
                        Stat,
                        Count,
                        "URLs counted",
                        "计数中的网址",
                        "URLs whose hits are in memory until they are saved.",
                    )
                    .ask("urls", here(HITS_ENTRIES).sum(&[])),
                    panel(
                        Lines,
                        PerSecond,
                        "Lines of the access log",
                        "日志行",
                        "Written, and lost because the disk did not take them.",
                    )
                    .ask("written", here(ACCESS_LOG_LINES).rate(&[]))
                    .ask("lost", here(ACCESS_LOG_LOST).rate(&[]))
                    .size(8, 8),
                    panel(
                        Lines,
                        PerSecond,
                        "Not logged, not counted",
                        "丢弃的遥测",
                        "Requests that are neither in the log nor among the hits, because these did not keep up: \
                        a slow disk, or too little processor.",
                    )
                    .ask("dropped", here(TELEMETRY_DROPPED).rate(&[]))
                    .ask("hits without a URL", here(HITS_UNNAMED).rate(&[]))
                    .steps(RED_ABOVE_0)
                    .size(8, 8),
                    panel(
                        Lines,
                        Count,
                        "Saves of hits",
                        "保存次数",
                        "Around each point of time. `failed` ones are made up for by the next.",
                    )
                    .ask("{{result}}", here(HITS_FLUSHES).increase(&[RESULT]))
                    .size(8, 8),
                    panel(
                        Lines,
                        PerSecond,
                        "Hits saved and lost",
                        "保存与丢失",
                        "Lost ones were for a database that was away for too long: bring it back (runbook, WaypostHitsLost).",
                    )
                    .ask("saved", here(HITS_WRITTEN).rate(&[]))
                    .ask("lost", here(HITS_LOST).rate(&[]))
                    .size(12, 7),
                    panel(
                        Lines,
                        Yes,
                        "Saving hits fails",
                        "保存失败",
                        "1 while the database takes no counts; they are kept in memory. The log of the gateway says why.",
                    )
                    .ask("{{instance}}", here(HITS_FAILING).max(node))
                    .up_to(1.0)
                    .size(12, 7),
                    panel(
                        Lines,
                        PerSecond,
                        "Spans of traces",
                        "链路追踪",
                        "`failed` ones the collector refused, or it was away for too long; `dropped` ones did not fit into the \
                        queue. Nothing where [traces] has no endpoint.",
                    )
                    .ask("{{result}}", here(TRACES_EXPORTED).rate(&[RESULT]))
                    .size(24, 7),
                ],
            ),
            (
                "How Prometheus reads it",
                vec![
                    panel(
                        Lines,
                        Seconds,
                        "Time of a reading",
                        "抓取用时",
                        "Each page of metrics should take less than a second.",
                    )
                    .ask("{{job}} {{instance}}", here(SCRAPE_DURATION).like(JOB, "waypost.*").max(&[JOB, INSTANCE])),
                    panel(
                        Lines,
                        Count,
                        "Series read",
                        "序列数",
                        "Series of each page. That of sites grows with the number of sites; the other should not.",
                    )
                    .ask("{{job}} {{instance}}", here(SCRAPE_SAMPLES).like(JOB, "waypost.*").max(&[JOB, INSTANCE])),
                ],
            ),
        ],
    }
}
