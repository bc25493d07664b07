import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { addresses } from "./system.js";

const PACKAGE = join(import.meta.dirname, "../..");
const USE = `
  const client = new Client(process.argv[2], securityFromEnvironment());
  client.infer("quick", { x: Int32Array.of(4, 2) })
    .then(({ outputs }) => console.log(outputs.x.data.join()))
    .finally(() => client.close());
`;

describe("the package with nothing but its dependencies beside it", () => {
  const directory = mkdtempSync(join(tmpdir(), "alpaserve-installed-"));
  after(() => rmSync(directory, { recursive: true }));
  before(() => {
    const modules = join(directory, "node_modules");
    const installed = join(modules, "@alpaserve/client");
    mkdirSync(installed, { recursive: true });
    for (const scope of ["@grpc", "@bufbuild"]) symlinkSync(join(PACKAGE, "node_modules", scope), join(modules, scope));
    cpSync(join(PACKAGE, "package.json"), join(installed, "package.json"));
    cpSync(join(PACKAGE, "build/src"), join(installed, "dist"), { recursive: true });
  });

  for (const [file, load] of [
    ["use.mjs", 'import { Client, securityFromEnvironment } from "@alpaserve/client";'],
    ["use.cjs", 'const { Client, securityFromEnvironment } = require("@alpaserve/client");'],
  ] as const) {
    test(`${file} asks a model and ends`, () => {
      writeFileSync(join(directory, file), load + USE);
      const printed = execFileSync(process.execPath, [join(directory, file), addresses().router], { encoding: "utf8" });
      assert.equal(printed, "4,2\n");
    });
  }
});
