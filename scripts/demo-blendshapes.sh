#!/usr/bin/env bash
# From generated blendshapes to an exported model in seconds: prepare, check, deploy, status, fetch, predict, evaluate, export.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p demo && cd demo
export GPUJOB_ROOT="$PWD/root" XDG_STATE_HOME="$PWD/state" GPUJOB_FETCH_DIR=fetched
say() { printf '\n$ %s\n' "$*"; "$@"; }

[ -d faces ] || say gpujob prepare blendshapes --sample faces
say gpujob check blendshapes --data faces
started=$SECONDS
say gpujob deploy blendshapes --on local --data faces --name faces --follow
took=$((SECONDS - started))
say gpujob status faces
say gpujob fetch faces
run=$(gpujob status faces --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["runs"][0]["id"])')
say gpujob verify "fetched/$run"
sed -n '1p;9,12p' faces/blendshapes/test.csv > some.csv
say gpujob predict "fetched/$run" some.csv
say gpujob evaluate "fetched/$run" --data faces
say gpujob export "fetched/$run" --to exported

cat <<'EOF' > use.py
import csv, json, torch
info = json.load(open("exported/preprocessing.json"))
model = torch.export.load("exported/model.pt2").module()
with open("some.csv") as file:
    rows = [[float(row[name]) for name in info["about"]["blendshapes"]] for row in csv.DictReader(file)]
for probabilities in model(torch.tensor(rows)).softmax(1).tolist():
    print({name: round(p, 2) for name, p in zip(info["classes"], probabilities)})
EOF
printf '\n$ cat use.py\n'
cat use.py
say python use.py
printf '\nThe deploy took %s s. That was a real run: %s.\n' "$took" "$run"
