import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const PACKAGE = join(import.meta.dirname, "../..");

test("the generated code is what the contract says", () => {
  const out = mkdtempSync(join(tmpdir(), "alpaserve-gen-"));
  try {
    execFileSync(join(PACKAGE, "../../.venv/bin/python"), [join(PACKAGE, "generate.py"), out]);
    const generated = contents(out);
    assert.ok(generated.size > 10);
    assert.deepEqual(generated, contents(join(PACKAGE, "src/gen")));
  } finally {
    rmSync(out, { recursive: true });
  }
});

function contents(directory: string): Map<string, string> {
  const paths = (readdirSync(directory, { recursive: true }) as string[]).sort();
  const files = paths.filter((path) => statSync(join(directory, path)).isFile());
  return new Map(files.map((path) => [path, readFileSync(join(directory, path), "utf8")]));
}
