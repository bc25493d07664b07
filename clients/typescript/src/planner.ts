/** The client of the planner, in the vocabulary of its messages. */

import { type CallLimits, Connection } from "./connection.js";
import { Model } from "./gen/alpaserve/v1/model.js";
import { Placement } from "./gen/alpaserve/v1/placement.js";
import {
  type ApplyPlanResponse,
  type Decision,
  ExploreRequest,
  type ExploreResponse,
  type GetPlacementResponse,
  type GetStatusResponse,
  type ListDecisionsResponse,
  type PlacementApplied,
  PlannerService,
  PlanRequest,
  type PlanResponse,
  SimulateRequest,
  type SimulateResponse,
  type Transition,
} from "./gen/alpaserve/v1/planner.js";
import { type Given, unlimited } from "./messages.js";

/**
 * Asks what runs where and changes it. Calls that load weights have no timeout of their own.
 *
 * Every method throws the AlpaServeClientError of the call's status.
 */
export class PlannerClient extends Connection {
  /** Search a placement: progress, then the plan, then its application unless validateOnly. */
  plan(request: Given<typeof PlanRequest>, limits?: CallLimits): AsyncGenerator<PlanResponse> {
    return this.stream(PlannerService.plan, PlanRequest.fromPartial(request), unlimited(limits));
  }

  /** Plan variations of a problem: the cells of a grid as they are done, or probes and a capacity. */
  explore(request: Given<typeof ExploreRequest>, limits?: CallLimits): AsyncGenerator<ExploreResponse> {
    return this.stream(PlannerService.explore, ExploreRequest.fromPartial(request), unlimited(limits));
  }

  /** What a placement would attain on a workload. */
  simulate(request: Given<typeof SimulateRequest>, limits?: CallLimits): Promise<SimulateResponse> {
    return this.unary(PlannerService.simulate, SimulateRequest.fromPartial(request), unlimited(limits));
  }

  /** Make a placement the running one; returns when it is. ABORTED unless `expectedVersion` runs, if it is not 0. */
  apply(placement: Given<typeof Placement>, expectedVersion = 0, limits?: CallLimits): Promise<ApplyPlanResponse> {
    const request = { placement: Placement.fromPartial(placement), expectedVersion };
    return this.unary(PlannerService.applyPlan, request, unlimited(limits));
  }

  /** The running placement, or an older version. */
  placement(version = 0, limits?: CallLimits): Promise<GetPlacementResponse> {
    return this.unary(PlannerService.getPlacement, { version }, limits);
  }

  /** The running placement now and after every change, until the timeout or the end of the service. */
  async *watchPlacement(limits?: CallLimits): AsyncGenerator<Placement> {
    for await (const { placement } of this.stream(PlannerService.watchPlacement, {}, unlimited(limits))) {
      if (placement) yield placement;
    }
  }

  /**
   * The transition under way, or the last one, now and at every change of it and of those that follow; undefined first
   * if there never was one.
   */
  async *watchTransition(limits?: CallLimits): AsyncGenerator<Transition | undefined> {
    for await (const { transition } of this.stream(PlannerService.watchTransition, {}, unlimited(limits))) {
      yield transition;
    }
  }

  /** What the planner decided by itself of late, the newest first; 0 means 20. */
  decisions(limit = 0, limits?: CallLimits): Promise<ListDecisionsResponse> {
    return this.unary(PlannerService.listDecisions, { limit }, limits);
  }

  /** The newest decisions, oldest first, then every further one; 0 means only the further ones. */
  async *watchDecisions(limit = 0, limits?: CallLimits): AsyncGenerator<Decision> {
    for await (const { decision } of this.stream(PlannerService.watchDecisions, { limit }, unlimited(limits))) {
      if (decision) yield decision;
    }
  }

  /** Make an older version's placement the running one; 0 means the one before. */
  async rollback(version = 0, limits?: CallLimits): Promise<PlacementApplied | undefined> {
    return (await this.unary(PlannerService.rollbackPlacement, { version }, unlimited(limits))).applied;
  }

  /** Add a model, or change its SLO; what was stored. */
  async registerModel(model: Given<typeof Model>, limits?: CallLimits): Promise<Model> {
    const response = await this.unary(PlannerService.registerModel, { model: Model.fromPartial(model) }, limits);
    return response.model ?? Model.create();
  }

  /** All registered models, sorted by name. */
  async listModels(limits?: CallLimits): Promise<Model[]> {
    return (await this.unary(PlannerService.listModels, {}, limits)).models;
  }

  /** Forget a model that no group holds. */
  async removeModel(name: string, limits?: CallLimits): Promise<void> {
    await this.unary(PlannerService.removeModel, { name }, limits);
  }

  /** Workers, groups and their queues, arrival rates. */
  status(limits?: CallLimits): Promise<GetStatusResponse> {
    return this.unary(PlannerService.getStatus, {}, limits);
  }
}
