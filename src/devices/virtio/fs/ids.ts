/** Users and groups as the guest sees them. */

/** "Leave it as it is", chown(2). */
export const NO_ID = 0xffff_ffff;
/** /proc/sys/kernel/overflowuid: who has no number in the guest. */
const OVERFLOW_ID = 65534;

export interface IdTranslation {
  guestUid(host: number): number;
  guestGid(host: number): number;
  /** NO_ID for those that the host has not. */
  hostUid(guest: number): number;
  hostGid(guest: number): number;
}

const same = (id: number): number => id;

/** In a user namespace of its own the process sees what the guest is to see. */
export const NAMESPACE_IDS: IdTranslation = { guestUid: same, guestGid: same, hostUid: same, hostGid: same };

/** Without one: the guest's root is this user, and all others are nobody. */
export function ownerIds(uid: number, gid: number): IdTranslation {
  const toGuest = (own: number) => (host: number) => (host === own ? 0 : OVERFLOW_ID);
  const toHost = (own: number) => (guest: number) => (guest === 0 ? own : NO_ID);
  return { guestUid: toGuest(uid), guestGid: toGuest(gid), hostUid: toHost(uid), hostGid: toHost(gid) };
}
