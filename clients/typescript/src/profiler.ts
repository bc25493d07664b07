/** The client of the profiler, in the vocabulary of its messages. */

import { type CallLimits, Connection } from "./connection.js";
import { ProfileSet } from "./gen/alpaserve/v1/profile.js";
import {
  type ImportProfileRequest,
  ProfileRequest,
  type ProfileResponse,
  ProfilerService,
} from "./gen/alpaserve/v1/profiler.js";
import { type Given, unlimited } from "./messages.js";

/**
 * Asks for measurements and keeps their results. Measuring has no timeout of its own.
 *
 * Every method throws the AlpaServeClientError of the call's status.
 */
export class ProfilerClient extends Connection {
  /** Measure or estimate a registered model: a message for each entry and for what is pruned, then the stored profile. */
  profile(request: Given<typeof ProfileRequest>, limits?: CallLimits): AsyncGenerator<ProfileResponse> {
    return this.stream(ProfilerService.profile, ProfileRequest.fromPartial(request), unlimited(limits));
  }

  /** One stored profile, with the overheads it goes with. */
  async getProfile(name: string, limits?: CallLimits): Promise<ProfileSet> {
    return (await this.unary(ProfilerService.getProfile, { name }, limits)).profiles ?? ProfileSet.create();
  }

  /** Names of the stored profiles, sorted. */
  async listProfiles(limits?: CallLimits): Promise<string[]> {
    return (await this.unary(ProfilerService.listProfiles, {}, limits)).names;
  }

  /** Store the profiles of a document of schema alpaserve.profiles/v1; their names. */
  importProfiles(profilesJson: string | Uint8Array, limits?: CallLimits): Promise<string[]> {
    return this.#import({ $case: "profilesJson", value: Buffer.from(profilesJson as string) }, limits);
  }

  /** Store the profiles of a table that Alpa's benchmark wrote, tab-separated; their names. */
  importAlpaTable(table: string | Uint8Array, limits?: CallLimits): Promise<string[]> {
    return this.#import({ $case: "alpaTsv", value: Buffer.from(table as string) }, limits);
  }

  /** Forget a profile that no registered model costs by. */
  async removeProfile(name: string, limits?: CallLimits): Promise<void> {
    await this.unary(ProfilerService.removeProfile, { name }, limits);
  }

  async #import(content: ImportProfileRequest["content"], limits?: CallLimits): Promise<string[]> {
    return (await this.unary(ProfilerService.importProfile, { content }, limits)).names;
  }
}
