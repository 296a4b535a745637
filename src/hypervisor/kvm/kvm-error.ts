import { CodedError } from '#util/errors.ts';

/** API_VERSION: not the stable interface. NO_CAPABILITY: this host's KVM lacks something that the machine needs. REFUSED: it does not take a value. */
export type KvmErrorCode = 'API_VERSION' | 'NO_CAPABILITY' | 'REFUSED';

/** KVM of this host cannot be used, or not for this. */
export class KvmError extends CodedError<KvmErrorCode> {
  override readonly name = 'KvmError';
}
