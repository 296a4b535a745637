/** The part of seek-bzip 2.0.0 that is used. */
declare module 'seek-bzip' {
  class Stream {
    /** The next byte, or -1 at the end. */
    readByte(): number;
    writeByte(byte: number): void;
  }
  interface Bunzip {
    /** Decodes one bzip2 stream. Throws TypeError for malformed data, and what the streams throw. */
    decode(input: Stream, output: Stream): void;
    readonly Stream: typeof Stream;
  }
  const bunzip: Bunzip;
  export default bunzip;
}
