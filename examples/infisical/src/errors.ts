/** An answer to the user: the request is wrong, or not possible now. */
export interface HttpError {
  status: 400 | 404 | 409;
  /** The constraint name, by which a program tells errors apart. */
  code: string;
  message: string;
  /** What the database adds, such as the number of resources that use the pool. */
  detail?: string;
}

type Answer = [status: HttpError["status"], message: string];

const ANSWERS: Record<string, Answer> = {
  gateway_pools_entitlement: [400, "The plan of the organization does not include gateway pools."],
  gateway_pools_max_per_org: [400, "The organization has as many gateway pools as its plan allows."],
  gateway_pool_memberships_max_per_pool: [400, "The gateway pool has as many gateways as the plan allows."],
  gateway_pools_name_check: [
    400,
    "The name of a gateway pool has 1 to 32 characters: a-z, 0-9, and single hyphens between them.",
  ],
  gateway_pools_one_route: [400, "A resource cannot have both a gateway and a gateway pool."],
  gateway_pools_required: [400, "The organization requires a gateway pool in place of a single gateway."],
  gateway_pools_no_eligible_member: [400, "The gateway pool has no healthy gateway."],
  gateway_pools_not_found: [404, "The gateway pool, gateway or member does not exist."],
  gateway_pools_same_org: [404, "The gateway or gateway pool does not exist in the organization."],
  gateway_pools_orgid_foreign: [404, "The organization does not exist."],
  gateway_pools_orgid_name_unique: [409, "The organization has a gateway pool of this name."],
  gateway_pool_memberships_gatewaypoolid_gatewayid_unique: [409, "The gateway is a member of the gateway pool."],
  gateway_pools_in_use: [409, "The gateway pool is in use."],
};

/** For CHECK constraints of columns, such as a weight out of its range. */
const NOT_ALLOWED: Answer = [400, "A value is not allowed."];
const CHECK_VIOLATION = "23514";

interface DatabaseError {
  code?: string;
  constraint: string;
  detail?: string;
}

/**
 * Returns the answer to an error of gateway_pool, or undefined for every other error.  Errors that
 * the administrator of the server has to remove, such as gateway_pools_not_installed, are among
 * the others: they are no fault of the request.
 */
export function toHttpError(error: unknown): HttpError | undefined {
  const found = findDatabaseError(error);
  if (found === undefined) return undefined;

  const answer = ANSWERS[found.constraint] ?? (found.code === CHECK_VIOLATION ? NOT_ALLOWED : undefined);
  if (answer === undefined) return undefined;
  const [status, message] = answer;
  return { status, code: found.constraint, message, ...(found.detail && { detail: found.detail }) };
}

/** Looks into wrappers, too: Infisical's DatabaseError has the driver's error in `error`, others in `cause`. */
function findDatabaseError(error: unknown): DatabaseError | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const { constraint, error: inner, cause } = error as Partial<Record<"constraint" | "error" | "cause", unknown>>;
  if (typeof constraint === "string" && constraint.startsWith("gateway_pool")) return error as DatabaseError;
  return findDatabaseError(inner ?? cause);
}
