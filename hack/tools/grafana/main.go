// Command dashboard prints Sallyport's dashboard for Grafana as JSON: config/grafana/dashboard.json. Its panels are in
// panels.go. Tests run every query against a real Prometheus that scraped a real installation (test/e2e).
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "the dashboard:", err)
		os.Exit(1)
	}
}

func run() error {
	builder := dashboard.NewDashboardBuilder("Sallyport").
		Uid("sallyport").
		Description("VaultConfigs, Connections and VaultTasks, requests to Vault, volumes and leases.").
		Tags([]string{"sallyport", "vault"}).
		Refresh("1m").
		Time("now-3h", "now").
		Timezone("browser").
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		WithVariable(dashboard.NewQueryVariableBuilder("namespace").
			Label("Namespace of objects").
			Datasource(source()).
			Query(dashboard.StringOrMap{String: cog.ToPtr("label_values(sallyport_object_condition, namespace)")}).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
			Sort(dashboard.VariableSortAlphabeticalAsc).
			Multi(true).IncludeAll(true).AllValue(".*"))
	id := uint32(0)
	for _, row := range rows {
		id++
		builder.WithRow(dashboard.NewRowBuilder(row.title).Id(id))
		for _, p := range row.panels {
			id++
			builder.WithPanel(p.build(id))
		}
	}
	built, err := builder.Build()
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(built)
}

func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

// row of panels.
type row struct {
	title  string
	panels []panel
}

// panel with its queries.
type panel struct {
	kind        kind
	title       string
	description string
	unit        string
	queries     []query
}

type kind int

const (
	graph kind = iota
	number
	list
)

// query with the legend of its series.
type query struct{ expr, legend string }

// Widths and heights, of 24 columns.
const (
	graphWidth, graphHeight   = 8, 8
	numberWidth, numberHeight = 4, 4
	listWidth, listHeight     = 24, 8
)

func (p panel) build(id uint32) cog.Builder[dashboard.Panel] {
	switch p.kind {
	case number:
		built := stat.NewPanelBuilder().Id(id).Title(p.title).Description(p.description).Unit(p.unit).Datasource(source()).
			Span(numberWidth).Height(numberHeight).
			Thresholds(dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps([]dashboard.Threshold{
				{Color: "green"}, {Value: cog.ToPtr(1.0), Color: "red"},
			}))
		for i, q := range p.queries {
			built.WithTarget(q.build(i).Instant())
		}
		return built
	case list:
		built := table.NewPanelBuilder().Id(id).Title(p.title).Description(p.description).Unit(p.unit).Datasource(source()).
			Span(listWidth).Height(listHeight).
			WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
				"excludeByName": map[string]bool{"Time": true, "Value": true},
			}})
		for i, q := range p.queries {
			built.WithTarget(q.build(i).Instant().Format(prometheus.PromQueryFormatTable))
		}
		return built
	}
	built := timeseries.NewPanelBuilder().Id(id).Title(p.title).Description(p.description).Unit(p.unit).Datasource(source()).
		Span(graphWidth).Height(graphHeight).Min(0)
	for i, q := range p.queries {
		built.WithTarget(q.build(i).Range())
	}
	return built
}

func (q query) build(number int) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(string(rune('A' + number))).Datasource(source()).
		Expr(q.expr).LegendFormat(q.legend)
}
