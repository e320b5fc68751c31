// Run before what is written in TypeScript, by whatever Node there is: npm ci brings Node 24 for Linux only.
if (Number(process.versions.node.split(".")[0]) < 24) {
  console.error(
    `this needs Node 24 or newer, and here is ${process.versions.node}: install it, for example from nodejs.org`,
  );
  process.exit(1);
}
