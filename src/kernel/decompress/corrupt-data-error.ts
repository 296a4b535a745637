/** What every decoder of this folder throws for bytes that its format does not allow. The loader adds the file's name. */
export class CorruptDataError extends Error {
  override readonly name = 'CorruptDataError';
}
