// Loads the addon that it is given and prints what it says of itself, as JSON: for addon.mjs, which survives a crash here.
// With --devices also the GPUs, which takes the time of starting CUDA.

const [file, wanted] = process.argv.slice(2);
let answer;
try {
  const { build, cudaDevices } = require(file);
  answer = wanted === '--devices' ? { build, devices: cudaDevices?.() ?? [] } : { build };
} catch (error) {
  answer = { problem: error.message.split('\n')[0] };
}
process.stdout.write(`\n${JSON.stringify(answer)}\n`);
