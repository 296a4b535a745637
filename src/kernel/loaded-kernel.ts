/** A kernel that lies in guest memory, ready to be entered in 64-bit mode with the boot parameters' address in RSI. */
export interface LoadedKernel {
  /** Guest-physical address of the first instruction. */
  readonly entry: number;
  /** First byte that the kernel occupies, and one past the last, with the room that it takes before it knows its memory. */
  readonly kernelStart: number;
  readonly kernelEnd: number;
  /** How the image was entered: a plain ELF file; a bzImage by its own decompressor; the ELF image packed in a bzImage. */
  readonly protocol: 'elf' | 'bzimage' | 'bzimage-payload';
  /**
   * The setup header of a bzImage: the file's bytes from 0x1f1 on, to be copied to the same offset of boot_params. Its length is
   * the header's own, at most what boot_params has room for.
   */
  readonly setupHeader?: Uint8Array;
  /** The last byte of an initrd may have this address (initrd_addr_max). */
  readonly initrdAddressMax: number;
  /** Longest command line, its final NUL not counted (cmdline_size). */
  readonly commandLineMaxBytes: number;
}

/** What holds where no setup header says otherwise: initrd_addr_max of old protocols, and COMMAND_LINE_SIZE less the NUL. */
export const KERNEL_DEFAULTS = { INITRD_ADDRESS_MAX: 0x37ff_ffff, COMMAND_LINE_MAX_BYTES: 2047 } as const;
