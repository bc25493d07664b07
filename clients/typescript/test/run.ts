/** Start the real system, run the test files against it one after the other, and stop it: run.js [FILE …]. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { placeModels, startSystem } from "./system.js";

const system = await startSystem();
try {
  Object.assign(process.env, system.environment);
  await placeModels();
  const given = process.argv.slice(2);
  const files = given.length ? given : readdirSync(import.meta.dirname).filter((name) => name.endsWith(".test.js"));
  const paths = files.map((name) => join(import.meta.dirname, name));
  // A file with a test that waits for ever fails after a minute.
  const options = ["--test", "--test-concurrency=1", "--test-timeout=60000", "--test-reporter=dot"];
  const tests = spawn(process.execPath, [...options, ...paths], { stdio: "inherit" });
  [process.exitCode] = await once(tests, "exit");
} finally {
  await system.stop();
}
