//! Panels: what is asked, how it is drawn, and what a person should do about it.

use serde_json::{Map, Value, json};

/// One picture on a dashboard.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    view: View,
    unit: Unit,
    title: &'static str,
    chinese: &'static str,
    about: &'static str,
    queries: Vec<Query>,
    columns: Vec<Column>,
    steps: &'static [(f64, &'static str)],
    max: Option<f64>,
    shape: Option<Value>,
    sorted_by: Option<&'static str>,
    size: Option<(u8, u8)>,
}

#[derive(Clone, Debug)]
struct Query {
    legend: &'static str,
    text: String,
}

/// How a panel is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Lines over time.
    Lines,
    /// Areas over time, one on the other.
    Stack,
    /// A number now.
    Stat,
    /// Bars of the numbers now.
    Bars,
    /// A table of the numbers now.
    Table,
    /// How the buckets of a histogram fill over time.
    Heatmap,
}

/// What is measured, by the name that Grafana has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Requests a second.
    Requests,
    /// Anything a second.
    PerSecond,
    /// A number of things.
    Count,
    /// From 0 to 1.
    Share,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    ByteRate,
    /// Seconds.
    Seconds,
    /// 1 or 0.
    Yes,
    /// Text.
    Text,
}

/// A column of a table.
#[derive(Clone, Debug)]
struct Column {
    name: String,
    title: &'static str,
    unit: Unit,
    steps: &'static [(f64, &'static str)],
    link: Option<&'static str>,
}

/// Green; red from `high` on.
pub(super) const RED_ABOVE_0: &[(f64, &str)] = &[(0.000_001, "red")];
/// Red at 0.
pub(super) const RED_AT_0: &[(f64, &str)] = &[(f64::NEG_INFINITY, "red"), (0.5, "green")];

/// A panel of this kind.
pub(super) fn panel(view: View, unit: Unit, title: &'static str, chinese: &'static str, about: &'static str) -> Panel {
    let (queries, columns) = (Vec::new(), Vec::new());
    Panel {
        view,
        unit,
        title,
        chinese,
        about,
        queries,
        columns,
        steps: &[],
        max: None,
        shape: None,
        sorted_by: None,
        size: None,
    }
}

impl Panel {
    /// Asks this; `legend` names each series, with `{{label}}` for what it is.
    pub fn ask(mut self, legend: &'static str, text: impl Into<String>) -> Self {
        self.queries.push(Query { legend, text: text.into() });
        self
    }

    /// Asks this for a column of numbers in a table.
    pub fn column(mut self, title: &'static str, unit: Unit, text: impl Into<String>) -> Self {
        let name = format!("Value #{}", letter(self.queries.len()));
        self.columns.push(Column { name, title, unit, steps: &[], link: None });
        self.ask(title, text)
    }

    /// The title of a label's column in a table; a click on it leads to `link`, a path in Grafana.
    pub fn label(mut self, label: &str, title: &'static str, link: Option<&'static str>) -> Self {
        self.columns.push(Column { name: label.to_owned(), title, unit: Unit::Text, steps: &[], link });
        self
    }

    /// Colours: from each number on, that one; of the last column, if it is a table. Green below.
    pub fn steps(mut self, steps: &'static [(f64, &'static str)]) -> Self {
        match self.columns.last_mut() {
            Some(column) => column.steps = steps,
            None => self.steps = steps,
        }
        self
    }

    /// The end of the scale.
    pub fn up_to(mut self, max: f64) -> Self {
        self.max = Some(max);
        self
    }

    /// A table whose rows and columns are what two labels say.
    pub fn matrix(mut self, row: &str, column: &str) -> Self {
        let options = json!({"rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "zero"});
        self.shape = Some(json!([{"id": "groupingToMatrix", "options": options}]));
        self
    }

    /// A table whose rows with most in this column come first.
    pub fn sorted_by(mut self, title: &'static str) -> Self {
        self.sorted_by = Some(title);
        self
    }

    /// Columns (of 24) and lines that it takes, instead of what is usual.
    pub fn size(mut self, width: u8, height: u8) -> Self {
        self.size = Some((width, height));
        self
    }

    /// Columns and lines that it takes.
    pub fn extent(&self) -> (u8, u8) {
        self.size.unwrap_or(match self.view {
            View::Stat => (4, 4),
            View::Lines | View::Stack | View::Bars | View::Heatmap => (12, 8),
            View::Table => (24, 9),
        })
    }

    /// For Grafana, at a place.
    pub fn json(&self, id: usize, x: u8, y: usize) -> Value {
        let (width, height) = self.extent();
        let mut panel = json!({
            "id": id,
            "type": self.view.kind(),
            "title": self.title,
            "description": format!("{}\n\n{}", self.chinese, self.about),
            "gridPos": {"x": x, "y": y, "w": width, "h": height},
            "datasource": datasource(),
            "targets": self.queries.iter().enumerate().map(|(at, query)| self.target(at, query)).collect::<Vec<_>>(),
            "fieldConfig": {"defaults": self.defaults(), "overrides": self.overrides()},
            "options": self.view.options(),
        });
        if self.view == View::Table {
            panel["transformations"] = self.transformations();
        }
        if let Some(title) = self.sorted_by {
            panel["options"]["sortBy"] = json!([{"displayName": title, "desc": true}]);
        }
        panel
    }

    fn target(&self, at: usize, query: &Query) -> Value {
        let is_now = matches!(self.view, View::Stat | View::Bars | View::Table);
        let format = match self.view {
            View::Table => "table",
            View::Heatmap => "heatmap",
            _ => "time_series",
        };
        json!({
            "refId": letter(at),
            "datasource": datasource(),
            "editorMode": "code",
            "expr": query.text,
            "legendFormat": query.legend,
            "format": format,
            "instant": is_now,
            "range": !is_now,
        })
    }

    fn defaults(&self) -> Value {
        let mut defaults = json!({
            "unit": self.unit.grafana(),
            "color": {"mode": if self.is_drawn_over_time() { "palette-classic" } else { "thresholds" }},
            "thresholds": thresholds(self.steps),
            "custom": self.custom(),
        });
        if self.unit != Unit::Text {
            defaults["min"] = json!(0);
        }
        if let Some(max) = self.max {
            defaults["max"] = json!(max);
        }
        if self.unit == Unit::Yes {
            let options = json!({"0": {"text": "no", "index": 0}, "1": {"text": "yes", "index": 1}});
            defaults["mappings"] = json!([{"type": "value", "options": options}]);
        }
        if matches!(self.view, View::Stat) {
            defaults["noValue"] = json!("none");
        }
        defaults
    }

    fn custom(&self) -> Value {
        match self.view {
            View::Lines | View::Stack => {
                let is_stack = self.view == View::Stack;
                json!({
                    "drawStyle": "line",
                    "lineWidth": 1,
                    "fillOpacity": if is_stack { 30 } else { 5 },
                    "showPoints": "never",
                    "spanNulls": false,
                    "stacking": {"mode": if is_stack { "normal" } else { "none" }, "group": "A"},
                    "thresholdsStyle": {"mode": if self.steps.is_empty() { "off" } else { "dashed" }},
                })
            }
            View::Table => json!({"filterable": true}),
            View::Heatmap => json!({"scaleDistribution": {"type": "linear"}}),
            View::Stat | View::Bars => json!({}),
        }
    }

    fn overrides(&self) -> Value {
        let overrides = self.columns.iter().map(|column| {
            let mut properties = vec![json!({"id": "unit", "value": column.unit.grafana()})];
            if !column.steps.is_empty() {
                properties.push(json!({"id": "thresholds", "value": thresholds(column.steps)}));
                properties.push(json!({"id": "custom.cellOptions", "value": {"type": "color-text"}}));
            }
            if let Some(link) = column.link {
                let link = json!([{"title": "Look closer", "url": link, "targetBlank": false}]);
                properties.push(json!({"id": "links", "value": link}));
            }
            json!({"matcher": {"id": "byName", "options": column.title}, "properties": properties})
        });
        overrides.collect()
    }

    /// One table of all queries, with titles for its columns.
    fn transformations(&self) -> Value {
        if let Some(shape) = &self.shape {
            return shape.clone();
        }
        // The only query of a table has no letter.
        let field = |column: &Column| match column.name.as_str() {
            "Value #A" if self.queries.len() == 1 => "Value".to_owned(),
            name => name.to_owned(),
        };
        let columns = || self.columns.iter().map(field);
        let titles: Map<String, Value> = columns().zip(self.columns.iter().map(|column| json!(column.title))).collect();
        let order: Map<String, Value> = columns().zip((0..).map(|at: usize| json!(at))).collect();
        let organize = json!({"excludeByName": {"Time": true}, "indexByName": order, "renameByName": titles});
        json!([{"id": "merge", "options": {}}, {"id": "organize", "options": organize}])
    }

    fn is_drawn_over_time(&self) -> bool {
        matches!(self.view, View::Lines | View::Stack)
    }
}

impl View {
    /// Grafana's name for it.
    fn kind(self) -> &'static str {
        match self {
            View::Lines | View::Stack => "timeseries",
            View::Stat => "stat",
            View::Bars => "bargauge",
            View::Table => "table",
            View::Heatmap => "heatmap",
        }
    }

    fn options(self) -> Value {
        let last = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
        match self {
            View::Lines | View::Stack => json!({
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
            View::Stat => json!({
                "reduceOptions": last,
                "orientation": "auto",
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "textMode": "auto",
                "percentChangeColorMode": "standard",
                "showPercentChange": false,
                "wideLayout": true,
            }),
            View::Bars => json!({
                "reduceOptions": last,
                "orientation": "horizontal",
                "displayMode": "basic",
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": []},
                "maxVizHeight": 300,
                "minVizHeight": 16,
                "minVizWidth": 8,
                "namePlacement": "auto",
                "showUnfilled": true,
                "sizing": "auto",
                "valueMode": "color",
            }),
            View::Table => json!({"showHeader": true, "cellHeight": "sm", "frameIndex": 0}),
            View::Heatmap => json!({
                "calculate": false,
                "cellGap": 1,
                "color": {
                    "exponent": 0.5,
                    "fill": "dark-orange",
                    "mode": "scheme",
                    "reverse": false,
                    "scale": "exponential",
                    "scheme": "Oranges",
                    "steps": 64,
                },
                "exemplars": {"color": "rgba(255,0,255,0.7)"},
                "filterValues": {"le": 1e-9},
                "legend": {"show": true},
                "rowsFrame": {"layout": "auto"},
                "showValue": "never",
                "tooltip": {"mode": "single", "yHistogram": false, "showColorScale": false},
                "yAxis": {"axisPlacement": "left", "reverse": false, "unit": "s"},
            }),
        }
    }
}

impl Unit {
    fn grafana(self) -> &'static str {
        match self {
            Unit::Requests => "reqps",
            Unit::PerSecond => "cps",
            Unit::Count => "short",
            Unit::Share => "percentunit",
            Unit::Bytes => "bytes",
            Unit::ByteRate => "Bps",
            Unit::Seconds => "s",
            Unit::Yes => "bool_yes_no",
            Unit::Text => "string",
        }
    }
}

/// What is asked: the Prometheus that is chosen at the top of a dashboard.
pub(super) fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn thresholds(steps: &[(f64, &str)]) -> Value {
    // The first step begins at no number.
    let (first, steps) = match steps {
        [(start, first), rest @ ..] if *start == f64::NEG_INFINITY => (*first, rest),
        _ => ("green", steps),
    };
    let rest = steps.iter().map(|(from, color)| json!({"color": color, "value": from}));
    let steps: Vec<Value> = [json!({"color": first, "value": null})].into_iter().chain(rest).collect();
    json!({"mode": "absolute", "steps": steps})
}

/// Queries of a panel are called A, B, C …
fn letter(at: usize) -> String {
    u8::try_from(at).ok().filter(|at| *at < 26).map_or_else(|| format!("Q{at}"), |at| char::from(b'A' + at).to_string())
}
