//! Platforms, and the cache before them.

use super::super::dashboard::{Choice, Dashboard};
use super::super::names::*;
use super::super::panel::{RED_ABOVE_0, RED_AT_0, Unit::*, View::*, panel};
use super::super::query::{Series, here, share};

fn of(family: Family) -> Series {
    here(family).like(PLATFORM, "$platform")
}

pub(super) fn dashboard() -> Dashboard {
    let failed = of(PLATFORM_REQUESTS).like(OUTCOME, "server_error|failed");
    let hits = here(CACHE_REQUESTS).like(RESULT, "hit|stale.*|revalidated|collapsed");
    Dashboard {
        uid: "waypost-platforms",
        title: "platforms and cache",
        about: "How the platforms and old servers do that answer what is not redirected, and what the \
        cache spares them.",
        choices: &[Choice::Nodes, Choice::Platforms],
        rows: vec![
            (
                "Platforms now",
                vec![
                    panel(
                        Table,
                        Text,
                        "Origins",
                        "源站",
                        "Whether each origin gets requests. `no`: its health checks or requests fail; it is \
                        tried again by itself (runbook, WaypostOriginDown).",
                    )
                    .label(PLATFORM, "Platform", None)
                    .label(ORIGIN, "Origin", None)
                    .column("Up", Yes, of(PLATFORM_ORIGIN_UP).min(&[PLATFORM, ORIGIN]))
                    .steps(RED_AT_0)
                    .size(12, 8),
                    panel(
                        Lines,
                        Share,
                        "Share of requests that failed",
                        "失败率",
                        "Requests that the platform answered with 5xx, or not at all. The panels below say why.",
                    )
                    .ask("{{platform}}", share(&failed.rate(&[PLATFORM]), &of(PLATFORM_REQUESTS).rate(&[PLATFORM])))
                    .steps(&[(0.01, "orange"), (0.1, "red")]),
                ],
            ),
            (
                "Platforms over time",
                vec![
                    panel(
                        Stack,
                        Requests,
                        "By outcome",
                        "按结果",
                        "Requests to platforms. `failed` got no answer, or none in time; `server_error` is 5xx \
                        of the platform's own.",
                    )
                    .ask("{{platform}} {{outcome}}", of(PLATFORM_REQUESTS).rate(&[PLATFORM, OUTCOME])),
                    panel(
                        Stack,
                        PerSecond,
                        "Tries that failed, by why",
                        "失败原因",
                        "connect, timeout, reset: the network or the server. tls: its certificate. busy: \
                        [platforms.NAME] connections and queue. breaker: no origin is well.",
                    )
                    .ask("{{platform}} {{error}}", of(PLATFORM_ERRORS).rate(&[PLATFORM, ERROR])),
                    panel(
                        Lines,
                        Seconds,
                        "Time until an answer begins",
                        "首字节时间",
                        "What 50, 95 and 99 of 100 requests are faster than, retries included. Above 3 s \
                        citizens notice.",
                    )
                    .ask("{{platform}} 50 %", of(PLATFORM_DURATION).quantile(0.5, &[PLATFORM]))
                    .ask("{{platform}} 95 %", of(PLATFORM_DURATION).quantile(0.95, &[PLATFORM]))
                    .ask("{{platform}} 99 %", of(PLATFORM_DURATION).quantile(0.99, &[PLATFORM]))
                    .steps(&[(3.0, "orange"), (15.0, "red")]),
                    panel(
                        Lines,
                        Count,
                        "Requests under way and waiting",
                        "并发与排队",
                        "Requests that wait find all of [platforms.NAME] connections in use: allow more, or \
                        cache more.",
                    )
                    .ask("{{platform}} under way", of(PLATFORM_IN_FLIGHT).sum(&[PLATFORM]))
                    .ask("{{platform}} waiting", of(PLATFORM_QUEUED).sum(&[PLATFORM])),
                    panel(
                        Lines,
                        PerSecond,
                        "Retries and ejections",
                        "重试与摘除",
                        "Requests tried again, and origins left alone because requests to them failed. Steady \
                        ejections of one origin: take it out and mend it.",
                    )
                    .ask("{{platform}} retries", of(PLATFORM_RETRIES).rate(&[PLATFORM]))
                    .ask("{{origin}} ejected", of(PLATFORM_EJECTIONS).rate(&[ORIGIN])),
                    panel(
                        Lines,
                        PerSecond,
                        "Bodies broken off",
                        "中断的响应",
                        "Answers that could not be rewritten or decompressed to their end: the platform sends \
                        what it doesn't say, or breaks off itself. The log names the URLs.",
                    )
                    .ask("{{platform}}", of(PLATFORM_BROKEN).rate(&[PLATFORM]))
                    .steps(RED_ABOVE_0),
                ],
            ),
            (
                "Cache",
                vec![
                    panel(
                        Stat,
                        Share,
                        "Answered from the cache",
                        "缓存命中率",
                        "Share of requests to platforms that the cache answered, or that waited for another's \
                        answer. Low: `default-ttl` in [cache], or `Cache-Control` of the platforms.",
                    )
                    .ask("hits", share(&hits.clone().rate(&[]), &here(CACHE_REQUESTS).rate(&[])))
                    .up_to(1.0)
                    .size(6, 4),
                    panel(
                        Stat,
                        Bytes,
                        "Memory of the cache",
                        "缓存占用",
                        "Bytes that stored answers take. At [cache] size the oldest are evicted, which is no \
                        fault.",
                    )
                    .ask("bytes", here(CACHE_BYTES).sum(&[]))
                    .size(6, 4),
                    panel(Stat, Count, "URLs in the cache", "缓存条目", "URLs of which answers are stored.")
                        .ask("urls", here(CACHE_ENTRIES).sum(&[]))
                        .size(6, 4),
                    panel(Stat, Requests, "Spared", "节省的请求", "Requests a second that platforms did not get.")
                        .ask("spared", hits.rate(&[]))
                        .size(6, 4),
                    panel(
                        Stack,
                        Requests,
                        "What the cache made of requests",
                        "缓存结果",
                        "`stale_if_error` grows while a platform is down: citizens still see pages. `pass`: what \
                        can't be cached at all.",
                    )
                    .ask("{{result}}", here(CACHE_REQUESTS).rate(&[RESULT])),
                    panel(
                        Stack,
                        PerSecond,
                        "What the cache made of answers",
                        "写入结果",
                        "Many `evicted`: [cache] size is small for what is asked. `aborted`: the platform broke \
                        off.",
                    )
                    .ask("{{result}}", here(CACHE_RESPONSES).rate(&[RESULT])),
                ],
            ),
        ],
    }
}
