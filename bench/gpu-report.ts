// The end of bench/gpu.sh: gathers what lies in the folder of its results, writes it there as <device>-<date>-gpu.json and
// .md, and prints the latter. Called with the folder.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type GpuResults, gpuMarkdown, provenanceOf, type TestsReport, testResultsOf } from './gpu-table.ts';
import { deviceSlug } from './results.ts';

const [folder] = process.argv.slice(2);

function read<Result>(pattern: RegExp): readonly Result[] {
  return readdirSync(folder)
    .filter((name) => pattern.test(name))
    .sort(new Intl.Collator('en', { numeric: true }).compare)
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')));
}

const [tests] = read<TestsReport>(/^tests-report\.json$/);
const results: GpuResults = {
  peers: read(/^peers-.*\.json$/),
  peaks: read(/^peak-.*\.json$/),
  many: read(/^many-.*\.json$/),
  parity: read<NonNullable<GpuResults['parity']>>(/^parity-report\.json$/)[0],
  analysis: read<NonNullable<GpuResults['analysis']>>(/^analysis-.*\.json$/)[0],
  run: read<NonNullable<GpuResults['run']>>(/^run-summary\.json$/)[0],
  ...(tests && { tests: testResultsOf(tests) }),
  failures: read(/^failed-.*\.json$/),
};
const provenance = provenanceOf(results);
if (!provenance) throw new Error(`${folder}: expected results of bench/gpu.sh, found none`);
const stem = join(folder, `${deviceSlug(provenance.machine)}-${provenance.date}-gpu`);
const markdown = gpuMarkdown(results, provenance);
writeFileSync(`${stem}.json`, `${JSON.stringify({ ...provenance, ...results }, null, 2)}\n`);
writeFileSync(`${stem}.md`, markdown);
process.stdout.write(`${markdown}\n${stem}.md\n`);
