import { CodedError } from '#util/errors.ts';

/** EXHAUSTED: there is no room left. TAKEN: what was asked for belongs to another. BAD_REQUEST: no such range or number. */
export type ResourceErrorCode = 'EXHAUSTED' | 'TAKEN' | 'BAD_REQUEST';

/** A resource of the machine that cannot be had; the message names the resource, who asked and what there is. */
export class ResourceError extends CodedError<ResourceErrorCode> {
  override readonly name = 'ResourceError';
}
