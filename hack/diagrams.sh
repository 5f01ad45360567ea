#!/usr/bin/env bash
# Draws the diagrams of docs/images from their sources, which lie beside them: NAME.puml is drawn by PlantUML, NAME.dot
# by Graphviz. dashboard.svg is drawn by hack/picture from what `make test-e2e FOCUS='real Prometheus'` leaves in
# bin/dashboard.json, if it is there (SALLYPORT_PICTURE=2m shows so long at least). The output depends on the programs'
# versions and on the machine's fonts, so `make verify` does not compare it.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT/docs/images"
"$ROOT/hack/packages.sh" diagrams

for source in *.puml; do
  say "docs/images/${source%.puml}.svg"
  plantuml -tsvg -nometadata -charset UTF-8 -failfast2 "$source"
done
for source in *.dot; do
  say "docs/images/${source%.dot}.svg"
  # Without the comments, which name the version of the program.
  dot -Tsvg "$source" | sed -e '/^<!-- Generated/,/-->/d' -e '/^<!--.*-->$/d' >"${source%.dot}.svg"
done
if [[ -f $ROOT/bin/dashboard.json ]]; then
  say "docs/images/dashboard.svg"
  go run "$ROOT/hack/picture" "$ROOT/config/grafana/dashboard.json" "$ROOT/bin/dashboard.json" >dashboard.svg.new
  mv dashboard.svg.new dashboard.svg
fi
