#!/usr/bin/env bash
# Builds, tests and measures on a machine with an NVIDIA GPU: run it in the folder that scripts/pack.mjs packed. It goes in
# stages; what a stage found is in $OUT, and a stage that has a result there is skipped, so that it can be called again
# after it was cut off. Nothing is installed and no network is needed.

set -uo pipefail

cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." || exit 1

STAGES=(build tests parity peak bench-resnet18 bench-resnet50 bench-resnet101 analysis many run)
OUT=${OUT:-results}
BATCHES=${BATCHES:-128 512}
PRECISIONS=${PRECISIONS:-tf32 bfloat16}
PAIRS=${PAIRS:-5}
EPOCHS=${EPOCHS:-150}
STAGE_SECONDS=${STAGE_SECONDS:-480}

usage() {
  cat <<TEXT
usage: bench/gpu.sh [--again] [--list] [stage ...]

Stages, all of them by default, in this order:
  build            takes the packed addon where it loads, else compiles one against python3's torch
  tests            those of tests/gpu, on cuda:0
  parity           gradients on the GPU beside PyTorch's, from float64, in all precisions
  peak             the matrix-multiply peak in float32, tf32 and bfloat16
  bench-<model>    resnet18, resnet50, resnet101: the training step beside PyTorch's on the same GPU, in turn
  analysis         an analysis epoch over a plain one, resnet18
  many             1, 2 and 4 small runs at once, resnet8 and resnet20
  run              a params1 run of resnet18 on synthetic data

  --again          repeats stages that have a result
  --list           prints the stages, and whether they have one

Environment:
  OUT              folder of the results (default: results, in the packed folder)
  BATCHES          of the bench stages (default: 128 512)
  PRECISIONS       of the bench stages (default: tf32 bfloat16)
  PAIRS            of measurements with each peer, in turn (default: 5)
  EPOCHS           of the run, whose phases are scaled from the paper's 150 (default: 150)
  STAGE_SECONDS    after which a stage is ended (default: 480)
TEXT
}

fail() {
  echo "gpu.sh: $1" >&2
  exit "${2:-1}"
}

is_stage() {
  local stage
  for stage in "${STAGES[@]}"; do [[ $stage == "$1" ]] && return 0; done
  return 1
}

gradamp() {
  bin/gradamp "$@"
}

# A result that is there in full: it is written beside its place and then renamed.
keep() {
  local file=$1
  shift
  if "$@" >"$file.part"; then
    mv "$file.part" "$file"
  else
    local code=$?
    rm -f "$file.part"
    echo "failed with exit code $code: $*"
    return 1
  fi
}

# Where the loader finds the libraries of python3's torch: its own folder, and those of NVIDIA's packages beside it.
torch_libraries() {
  python3 - <<'PYTHON'
import glob
import importlib.util
import os

spec = importlib.util.find_spec("torch")
if spec is None:
    raise SystemExit("expected a python3 that has torch")
torch = spec.submodule_search_locations[0]
beside = sorted(glob.glob(os.path.join(os.path.dirname(torch), "nvidia", "*", "lib")))
print(":".join([os.path.join(torch, "lib"), *beside]))
PYTHON
}

# Whether the addon that is there can be used, and is one for GPUs.
addon_loads() {
  bin/node --input-type=module -e '
    const { addonFolder, inspectAddon } = await import(`${process.cwd()}/scripts/native/addon.mjs`);
    const { problem, info } = inspectAddon(addonFolder());
    console.log(problem ?? `libtorch ${info.libtorch.version}, CUDA ${info.cuda}`);
    if (problem || !info.cuda) process.exit(1);
  '
}

stage_build() {
  nvidia-smi || true
  python3 -c '
import torch
print("torch", torch.__version__, "CUDA", torch.version.cuda)
assert torch.cuda.is_available(), "expected a GPU that torch can use"
print(torch.cuda.get_device_name(0))
' || return 1
  if [[ -e build/native/gradamp.node ]]; then
    addon_loads && return 0
    echo "the packed addon does not load here: compiling one"
  fi
  bin/node scripts/native/build.mjs && addon_loads && gradamp doctor
}

stage_tests() {
  local report=$OUT/tests-report.json
  rm -f "$report"
  # A device in the environment makes them those of tests/gpu; see vitest.config.ts.
  GRADAMP_TEST_DEVICE=cuda:0 bin/node node_modules/vitest/vitest.mjs run \
    --reporter=default --reporter=json --outputFile.json="$report" || return 1
  bin/node -e '
    const { numPassedTests, numPendingTests } = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
    console.log(`${numPassedTests} passed, ${numPendingTests} skipped`);
    if (numPassedTests === 0) process.exit(1);
  ' "$report"
}

# Its JSON is printed in full before it fails over a gradient that is not fine, and is what says which.
stage_parity() {
  local file=$OUT/parity-report.json code=0
  gradamp bench parity --device cuda --engine torch --python python3 \
    --models resnet8,resnet18,resnet50,resnet101 --precisions float32,tf32,bfloat16 --json >"$file.part" || code=$?
  if [[ -s $file.part ]]; then mv "$file.part" "$file"; else rm -f "$file.part"; fi
  return "$code"
}

stage_peak() {
  local precision failed=0
  for precision in float32 tf32 bfloat16; do
    local file=$OUT/peak-$precision.json
    [[ -s $file ]] && continue
    keep "$file" gradamp bench peak --device cuda --engine torch --precision "$precision" --python python3 --json || failed=1
  done
  return $failed
}

# Each comparison has a file of its own: a stage that was cut off goes on behind the last one.
bench_model() {
  local model=$1 batch precision failed=0
  for batch in $BATCHES; do
    for precision in $PRECISIONS; do
      local file=$OUT/peers-$model-$batch-$precision.json
      [[ -s $file ]] && continue
      local peers=torch-channels-last,torch-cuda-graph
      [[ $batch == 512 && $precision == bfloat16 ]] && peers+=,torch-compile,torch-compile-graph
      keep "$file" gradamp bench peers --model "$model" --batch "$batch" --precision "$precision" --device cuda \
        --engine torch --peers "$peers" --pairs "$PAIRS" --python python3 --json || failed=1
    done
  done
  return $failed
}

stage_analysis() {
  keep "$OUT/analysis-resnet18.json" gradamp bench analysis --model resnet18 --batch 512 --precision bfloat16 \
    --device cuda --engine torch --pairs "$PAIRS" --steps 98 --json
}

stage_many() {
  local model failed=0
  for model in resnet8 resnet20; do
    local file=$OUT/many-$model.json
    [[ -s $file ]] && continue
    keep "$file" gradamp bench many --model "$model" --batch 128 --precision tf32 --device cuda --engine torch \
      --runs 1,2,4 --json || failed=1
  done
  return $failed
}

stage_run() {
  local data=data/synthetic run=runs/params1 end ends=()
  for end in 50 100 130 150; do ends+=($((end * EPOCHS / 150))); done
  [[ -e $data/synthetic.json ]] || gradamp data synthesize --out "$data" --force || return 1
  rm -rf "$run"
  keep "$OUT/run-summary.json" gradamp train configs/resnet18-cifar10.yaml --devices cuda:0 --out "$run" --json \
    --set engine=torch --set precision=bfloat16 --set microBatch=null --set dataDir="$data" \
    --set "schedule=[[${ends[0]}, 0.1, false, 1], [${ends[1]}, 0.1, true, 2], [${ends[2]}, 0.01, true, 2], [${ends[3]}, 0.01, false, 1]]" ||
    return 1
  cp "$run"/{config.yaml,metrics.csv,timings.jsonl,selections.jsonl} "$OUT/"
}

run_stage() {
  case $1 in
    bench-*) bench_model "${1#bench-}" ;;
    *) "stage_$1" ;;
  esac
}

# Files of a stage in $OUT.
results_of() {
  case $1 in
    tests | parity) echo "$OUT/$1-report.json" ;;
    peak) echo "$OUT"/peak-*.json ;;
    bench-*) echo "$OUT/peers-${1#bench-}"-*.json ;;
    analysis) echo "$OUT"/analysis-*.json ;;
    many) echo "$OUT"/many-*.json ;;
    run) echo "$OUT/run-summary.json" ;;
  esac
}

again=
wanted=()
while (($#)); do
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --again) again=1 ;;
    --list)
      for stage in "${STAGES[@]}"; do
        if [[ -e $OUT/$stage.json ]]; then echo "$stage: done"; else echo "$stage"; fi
      done
      exit 0
      ;;
    # Within the time limit, see below.
    --only)
      run_stage "$2"
      exit
      ;;
    -*) fail "expected --again, --list, --help or stages, got $1" 2 ;;
    *)
      is_stage "$1" || fail "expected stages of ${STAGES[*]}, got $1" 2
      wanted+=("$1")
      ;;
  esac
  shift
done
((${#wanted[@]})) || wanted=("${STAGES[@]}")
for variable in PAIRS EPOCHS STAGE_SECONDS; do
  [[ ${!variable} =~ ^[1-9][0-9]*$ ]] || fail "$variable: expected a whole number of at least 1, got ${!variable}" 2
done
((EPOCHS >= 15)) || fail "EPOCHS: expected at least 15, so that every phase keeps an epoch, got $EPOCHS" 2
[[ -x bin/node && -x bin/gradamp ]] || fail "expected the folder that scripts/pack.mjs packs, found no bin/node in $PWD"
command -v python3 >/dev/null || fail "expected python3 on the PATH, found none"
libraries=$(torch_libraries) || fail "python3 cannot be used"
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
mkdir -p "$OUT" || fail "OUT: expected a folder that can be written, got $OUT"
OUT=$(readlink -f "$OUT")
export OUT BATCHES PRECISIONS PAIRS EPOCHS

lines=()
failures=0
child=
trap '[[ $child ]] && kill "$child" 2>/dev/null; exit 130' INT TERM
for stage in "${wanted[@]}"; do
  if [[ $again ]]; then
    # shellcheck disable=SC2046
    rm -f "$OUT/$stage.json" "$OUT/failed-$stage.json" $(results_of "$stage")
  elif [[ -e $OUT/$stage.json ]]; then
    lines+=("$(printf '%-16s %7s  %s' "$stage" '' 'skipped: it has a result')")
    continue
  fi
  echo "gpu.sh: $stage ..."
  began=$SECONDS
  # Not in the foreground, so that Ctrl-C ends it at once.
  timeout --kill-after=10 "$STAGE_SECONDS" bash bench/gpu.sh --only "$stage" >"$OUT/$stage.log" 2>&1 </dev/null &
  child=$!
  wait "$child"
  code=$?
  seconds=$((SECONDS - began))
  if ((code == 0)); then
    printf '{"stage":"%s","seconds":%d,"date":"%s"}\n' "$stage" "$seconds" "$(date -u +%F)" >"$OUT/$stage.json"
    rm -f "$OUT/failed-$stage.json"
    outcome=done
  else
    ((failures++))
    ((code == 124 || code == 137)) && reason="over $STAGE_SECONDS s" || reason="exit code $code"
    # For the table, until it is done.
    printf '{"stage":"%s","seconds":%d,"reason":"%s"}\n' "$stage" "$seconds" "$reason" >"$OUT/failed-$stage.json"
    outcome="FAILED: $reason; see $OUT/$stage.log"
    tail -n 3 "$OUT/$stage.log" | sed 's/^/  /'
  fi
  lines+=("$(printf '%-16s %5d s  %s' "$stage" "$seconds" "$outcome")")
done

echo
printf '%s\n' "${lines[@]}"
# The table, of whatever there is by now.
if compgen -G "$OUT/peers-*.json" >/dev/null || compgen -G "$OUT/peak-*.json" >/dev/null; then
  echo
  bin/node dist/bench/gpu-report.js "$OUT" || ((failures++))
fi
((failures == 0))
