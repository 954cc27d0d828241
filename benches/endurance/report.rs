//! The table and the plot.

use crate::load::Draw;
use crate::run::Row;
use std::fmt::Write;

const COLUMNS: [&str; 15] = [
    "pool",
    "keys",
    "live",
    "ops/s",
    "MB/s",
    "ratio",
    "written",
    "copied",
    "CPU us/op",
    "p50",
    "p99",
    "p99.9",
    "max us",
    "waits",
    "refused",
];

pub fn heading(markdown: bool) {
    if markdown {
        println!("| {} |", COLUMNS.join(" | "));
        println!("|---|---|{}", "--:|".repeat(COLUMNS.len() - 2));
    } else {
        println!("{}", COLUMNS.map(|column| format!("{column:>14}")).concat());
    }
}

/// One row, beside the emptiest pool's of the same size and draw.
pub fn row(row: &Row, base: &Row, markdown: bool) {
    let micros = |share| format!("{:.1}", row.latencies.quantile(share) / 1000.0);
    let per_op = |time: std::time::Duration| format!("{:.2}", time.as_secs_f64() * 1e6 / row.ops as f64);
    let pool = if row.pool_mib.is_multiple_of(1024) {
        format!("{} GiB", row.pool_mib / 1024)
    } else {
        format!("{} MiB", row.pool_mib)
    };
    let cells = [
        pool,
        row.draw.name().to_owned(),
        format!("{} %", row.live_percent),
        format!("{:.0}", row.ops_per_second()),
        format!("{:.0}", row.user_bytes as f64 / row.elapsed.as_secs_f64() / 1e6),
        format!("{:.2}", row.ops_per_second() / base.ops_per_second()),
        format!("{:.2}", row.amplification),
        format!("{:.2}", row.copied),
        format!("{} + {}", per_op(row.writing), per_op(row.cleaning)),
        micros(0.5),
        micros(0.99),
        micros(0.999),
        micros(1.0),
        format!("{} ({:.1} %)", row.waits, 100.0 * row.waited.as_secs_f64() / row.elapsed.as_secs_f64()),
        row.refused.to_string(),
    ];
    if markdown {
        println!("| {} |", cells.join(" | "));
    } else {
        println!("{}", cells.map(|cell| format!("{cell:>14}")).concat());
    }
}

/// The size of a panel's inside, and where it begins, in the plot's units.
const PANEL: (f64, f64) = (270.0, 190.0);
const TOP: f64 = 62.0;

/// Throughput and amplification over live share, side by side: a line for each pool and draw.
pub fn plot(rows: &[Row]) -> String {
    let mut svg = String::from(concat!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 330" font-family="sans-serif" font-size="12">"#,
        "<style>text{fill:#333}.axis,.grid{stroke:#999;fill:none}.grid{stroke-opacity:.3}",
        ".uniform{stroke:#0b62a8;fill:#0b62a8}.zipf{stroke:#c2410c;fill:#c2410c}polyline{fill:none!important;stroke-width:2}",
        ".second{stroke-dasharray:6 4}circle.second{stroke-dasharray:none}",
        "@media(prefers-color-scheme:dark){text{fill:#ddd}.uniform{stroke:#6cb6ff;fill:#6cb6ff}",
        ".zipf{stroke:#ffa657;fill:#ffa657}}</style>\n",
    ));
    let lines = lines(rows);
    panel(&mut svg, 50.0, "throughput, as a share of that at 20 % live", &lines, |row, base| {
        row.ops_per_second() / base.ops_per_second()
    });
    panel(&mut svg, 410.0, "bytes written for each byte of keys and values", &lines, |row, _| row.amplification);
    for (number, line) in lines.iter().enumerate() {
        let (from, to) = (50.0 + 165.0 * number as f64, 76.0 + 165.0 * number as f64);
        let (class, text) = (line.class(rows), to + 6.0);
        let Row { draw, pool_mib, .. } = line.0[0];
        let _ = writeln!(svg, r#"<polyline class="{class}" points="{from},20 {to},20"/>"#);
        let _ = writeln!(svg, r#"<text x="{text}" y="24">{}, {pool_mib} MiB</text>"#, draw.name());
    }
    svg.push_str("</svg>\n");
    svg
}

/// Rows of one pool size and draw, the emptiest pool's first.
struct Line<'a>(&'a [Row]);

impl Line<'_> {
    fn class(&self, all: &[Row]) -> String {
        let draw = if self.0[0].draw == Draw::Uniform { "uniform" } else { "zipf" };
        let size = if self.0[0].pool_mib == all[0].pool_mib { "" } else { " second" };
        format!("{draw}{size}")
    }
}

fn lines(rows: &[Row]) -> Vec<Line<'_>> {
    rows.chunk_by(|a, b| (a.pool_mib, a.draw) == (b.pool_mib, b.draw)).map(Line).collect()
}

fn panel(svg: &mut String, left: f64, title: &str, lines: &[Line<'_>], value: impl Fn(&Row, &Row) -> f64) {
    let (bottom, right) = (TOP + PANEL.1, left + PANEL.0);
    let most = lines.iter().flat_map(|line| line.0.iter().map(|row| value(row, &line.0[0]))).fold(1.0, f64::max);
    let step = if most <= 2.0 { 0.25 } else { (most / 5.0).ceil() };
    let ticks = (most / step).ceil();
    let across = |percent: u32| left + PANEL.0 * f64::from(percent) / 100.0;
    let up = |value: f64| bottom - PANEL.1 * value / (ticks * step);
    let _ = writeln!(svg, r#"<text x="{left}" y="{}">{title}</text>"#, TOP - 12.0);
    for tick in 0..=ticks as u32 {
        let label = f64::from(tick) * step;
        let (at, x, y) = (up(label), left - 6.0, up(label) + 4.0);
        let _ = writeln!(svg, r#"<path class="grid" d="M{left} {at:.1}H{right}"/>"#);
        let _ = writeln!(svg, r#"<text x="{x}" y="{y:.1}" text-anchor="end">{label}</text>"#);
    }
    let _ = writeln!(svg, r#"<path class="axis" d="M{left} {TOP}V{bottom}H{right}"/>"#);
    for percent in (0..=100).step_by(20) {
        let (x, y) = (across(percent), bottom + 18.0);
        let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{percent}</text>"#);
    }
    let (x, y) = (across(50), bottom + 40.0);
    let _ = writeln!(svg, r#"<text x="{x}" y="{y}" text-anchor="middle">live share of the pool's bytes, %</text>"#);
    for line in lines {
        let class = line.class(lines[0].0);
        let points: Vec<(f64, f64)> =
            line.0.iter().map(|row| (across(row.live_percent), up(value(row, &line.0[0])))).collect();
        let joined: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(svg, r#"<polyline class="{class}" points="{}"/>"#, joined.join(" "));
        for (x, y) in points {
            let _ = writeln!(svg, r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="3"/>"#);
        }
    }
}
