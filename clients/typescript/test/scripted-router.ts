/** A router that answers as it is told, for what no healthy system does on demand. */

import { Metadata, Server, ServerCredentials, type ServerUnaryCall, type StatusObject, status } from "@grpc/grpc-js";
import { type InferRequest, InferResponse, RouterService } from "../src/gen/alpaserve/v1/router.js";
import type { Any } from "../src/gen/google/protobuf/any.js";
import { ErrorInfo, RetryInfo } from "../src/gen/google/rpc/error_details.js";
import { Status } from "../src/gen/google/rpc/status.js";

export type Call = ServerUnaryCall<InferRequest, InferResponse>;

/** What becomes of a call: an answer that echoes, a status, or nothing. */
export type Answer = "echo" | "silence" | Partial<StatusObject>;

export class ScriptedRouter {
  readonly calls: Call[] = [];
  readonly #server = new Server();
  address = "";

  /** Answers follow the calls' order; the last one holds for all further ones. */
  constructor(readonly answers: readonly Answer[]) {
    this.#server.addService(RouterService, {
      infer: (call: Call, callback: (error: Partial<StatusObject> | null, response?: InferResponse) => void) => {
        const answer = answers[Math.min(this.calls.length, answers.length - 1)];
        this.calls.push(call);
        const { requestId, inputs } = call.request;
        if (answer === "echo") callback(null, InferResponse.fromPartial({ requestId, outputs: inputs }));
        else if (answer !== "silence" && answer) callback(answer);
      },
    });
  }

  async start(credentials = ServerCredentials.createInsecure(), address = "127.0.0.1:0"): Promise<this> {
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(address, credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    this.address = `127.0.0.1:${port}`;
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
  }
}

/** A status with the details that the services send. */
export function refusal(code: status, reason: string, retryAfterS = 0): Partial<StatusObject> {
  const details = [
    packed("google.rpc.ErrorInfo", ErrorInfo.encode(ErrorInfo.create({ reason, domain: "alpaserve" })).finish()),
    packed(
      "google.rpc.RetryInfo",
      RetryInfo.encode({ retryDelay: { seconds: 0, nanos: Math.round(retryAfterS * 1e9) } }).finish(),
    ),
  ];
  return garbledRefusal(code, Buffer.from(Status.encode({ code, message: reason, details }).finish()));
}

/** A status with such details. */
export function garbledRefusal(code: status, details: Buffer): Partial<StatusObject> {
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", details);
  return { code, details: status[code], metadata };
}

function packed(name: string, value: Uint8Array): Any {
  return { typeUrl: `type.googleapis.com/${name}`, value: Buffer.from(value) };
}
