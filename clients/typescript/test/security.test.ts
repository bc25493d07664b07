import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import {
  Client,
  type ConnectionOptions,
  PermissionDenied,
  PlannerClient,
  Unauthenticated,
  Unavailable,
} from "../src/index.js";
import { addresses, connection, securityDirectory } from "./system.js";

const INPUTS = { x: Int32Array.of(1) };

function token(name: string): string {
  return readFileSync(join(securityDirectory(), `${name}.token`), "utf8").trim();
}

describe("a secured system", () => {
  test("lets in who shows a certificate and a token, given as files or as their bytes", async () => {
    const { tls = {} } = connection();
    const bytes = Object.fromEntries(Object.entries(tls).map(([name, path]) => [name, readFileSync(path)]));
    for (const form of [tls, bytes]) {
      await using client = new Client(addresses().router, { tls: form, token: token("infer") });
      const { group } = await client.infer("quick", INPUTS);
      assert.ok(group);
    }
  });

  const refused: [string, () => ConnectionOptions, object][] = [
    ["without a token", () => ({ ...connection(), token: undefined }), Unauthenticated],
    ["with a wrong token", () => ({ ...connection(), token: "wrong" }), Unauthenticated],
    ["with a token for something else", () => ({ ...connection(), token: token("plan") }), PermissionDenied],
    ["in plaintext", () => ({ numRetries: 0 }), Unavailable],
    ["without a certificate", () => ({ tls: { ca: connection().tls?.ca }, numRetries: 0 }), Unavailable],
    [
      "that trusts another authority",
      () => ({ tls: { ...connection().tls, ca: undefined }, numRetries: 0 }),
      Unavailable,
    ],
  ];
  for (const [what, options, error] of refused) {
    test(`refuses a caller ${what}`, async () => {
      const used = options();
      await using client = new Client(addresses().router, used);
      await assert.rejects(client.infer("quick", INPUTS), (thrown: Error) => {
        assert.equal(thrown.constructor, error);
        assert.ok(!used.token || !JSON.stringify({ ...thrown, text: `${thrown.stack}` }).includes(used.token));
        return true;
      });
    });
  }

  test("keeps the planner from who may only infer", async () => {
    await using planner = new PlannerClient(addresses().planner, { ...connection(), token: token("infer") });
    await assert.rejects(planner.registerModel({ name: "mine" }), PermissionDenied);
  });
});
