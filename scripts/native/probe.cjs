// Loads the addon that it is given and prints what it says of itself, as JSON: for addon.mjs, which survives a crash here.

const [file] = process.argv.slice(2);
let answer;
try {
  answer = { build: require(file).build };
} catch (error) {
  answer = { problem: error.message.split('\n')[0] };
}
process.stdout.write(`\n${JSON.stringify(answer)}\n`);
