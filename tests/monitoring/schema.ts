// What a dashboard must be like, by the types that Grafana publishes: @grafana/schema has dashboards, and for each kind of
// panel its options and its fields; the foundation SDK has queries for Prometheus, and units. Dashboards are checked as
// literals, so that a key which no type has is an error, too. Nothing of this runs: see tests/monitoring/schema.

import type * as grafana from "@grafana/schema";
import type { Dataquery } from "@grafana/grafana-foundation-sdk/prometheus";
import type * as units from "@grafana/grafana-foundation-sdk/units";
import type * as bars from "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type * as heatmap from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as lines from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

/** As JSON has it: the words of enums, and no functions. */
type Plain<T> = unknown extends T
  ? T
  : T extends string
    ? `${T}`
    : T extends number | boolean | null | undefined
      ? T
      : T extends Array<infer Item>
        ? Plain<Item>[]
        : { [Key in keyof T as T[Key] extends (...args: never) => unknown ? never : Key]: Plain<T[Key]> };

/** The units that Grafana knows. */
type Unit = (typeof units)[keyof typeof units];

/** A key that may be left out there must be given here. */
type With<T, Key extends keyof T> = T & Required<Pick<T, Key>>;

type Query = With<Plain<Dataquery>, "datasource" | "format" | "legendFormat" | "refId">;

type Fields<Custom> = Omit<Plain<grafana.FieldConfig>, "custom" | "unit"> & { custom: Plain<Custom>; unit: Unit };

interface Override {
  matcher: { id: "byName"; options: string };
  properties: Array<
    | { id: "unit"; value: Unit }
    | { id: "thresholds"; value: Plain<grafana.ThresholdsConfig> }
    | { id: "custom.cellOptions"; value: Plain<grafana.TableCellOptions> }
    | { id: "links"; value: Array<Plain<Pick<grafana.DashboardLink, "title" | "url" | "targetBlank">>> }
  >;
}

type Common = Omit<
  With<Plain<grafana.Panel>, "datasource" | "description" | "gridPos" | "id" | "title">,
  "type" | "options" | "fieldConfig" | "targets"
>;

type Panel<Kind, Options, Custom> = Common & {
  type: Kind;
  options: Plain<Options>;
  fieldConfig: { defaults: Fields<Custom>; overrides: Override[] };
  targets: Query[];
};

type Row = Plain<grafana.RowPanel> & { type: "row" };

/** One of ours: of the kinds of panels that are used, and with all that a dashboard should have. */
export type Dashboard = Omit<
  With<
    Plain<grafana.Dashboard>,
    "uid" | "title" | "description" | "tags" | "time" | "timezone" | "refresh" | "links" | "annotations" | "templating"
  >,
  "panels" | "schemaVersion" | "templating" | "annotations"
> & {
  schemaVersion: 42;
  templating: { list: Variable[] };
  annotations: { list: Annotation[] };
  panels: Array<
    | Row
    | Panel<"timeseries", lines.Options, lines.FieldConfig>
    | Panel<"stat", stat.Options, Record<string, never>>
    | Panel<"bargauge", bars.Options, Record<string, never>>
    | Panel<"table", table.Options, Partial<table.FieldConfig>>
    | Panel<"heatmap", heatmap.Options, heatmap.FieldConfig>
  >;
};

// The types of these leave out what each kind of variable, and Prometheus, adds.
type Variable = Plain<grafana.VariableModel> & { definition?: string };
type Annotation = Omit<Plain<grafana.AnnotationQuery>, "target"> & { expr: string; titleFormat: string; step: string };
