import { unlinkSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { DiskError } from '#disk/disk-file.ts';
import { openChain } from '#disk/image-chain.ts';
import { createQcow2 } from '#disk/qcow2/create.ts';
import { BACKING_FORMATS, type Backing } from '#disk/qcow2/header.ts';
import { HostImageFile } from '#disk/qcow2/image-file.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { quoted } from '#util/quoted.ts';
import type { Mistake } from '#vmm/config.ts';
import { type ParsedArguments, parseArguments } from './arguments.ts';
import { CREATE_QCOW2_OPTIONS, createQcow2Help } from './help.ts';
import type { CliIo } from './io.ts';
import { reportMistakes } from './mistakes.ts';
import { sizeOf } from './sizes.ts';

const SECTOR_BYTES = 512;

interface Request {
  readonly path: string;
  readonly sizeBytes: number;
  readonly backing: Backing | undefined;
}

/** `crosvm create_qcow2`: makes an empty image that does not exist yet. Returns the exit status; throws operating errors. */
export function createQcow2Command(argv: readonly string[], io: CliIo): number {
  const parsed = parseArguments(argv, CREATE_QCOW2_OPTIONS);
  if (parsed.flags.has('help')) {
    io.out(createQcow2Help());
    return 0;
  }
  const mistakes: Mistake[] = [...parsed.mistakes];
  const request = readRequest(parsed, mistakes);
  if (mistakes.length > 0) return reportMistakes(io, mistakes);
  create(request);
  return 0;
}

function readRequest({ positionals, values }: ParsedArguments, mistakes: Mistake[]): Request {
  const [path = '', size, ...rest] = positionals;
  if (path === '') mistakes.push({ option: 'PATH', message: 'missing: give the path of the new image' });
  for (const surplus of rest) mistakes.push({ option: quoted(surplus), message: 'unexpected argument' });
  const sizeBytes = readSize(size, mistakes);
  const name = values.get('backing')?.[0];
  const formatText = values.get('backing-format')?.[0];
  const format = BACKING_FORMATS.find((candidate) => candidate === formatText);
  if (formatText !== undefined && format === undefined)
    mistakes.push({ option: '--backing-format', message: `${quoted(formatText)} is not one of raw, qcow2` });
  if (name !== undefined && formatText === undefined)
    mistakes.push({ option: '--backing', message: 'needs --backing-format=raw or qcow2: it is never guessed' });
  if (name === undefined && formatText !== undefined)
    mistakes.push({ option: '--backing-format', message: 'is of no use without --backing' });
  const backing = name !== undefined && format !== undefined ? { name, format } : undefined;
  return { path, sizeBytes, backing };
}

function readSize(text: string | undefined, mistakes: Mistake[]): number {
  const sizeBytes = sizeOf(text ?? '');
  if (text === undefined) mistakes.push({ option: 'SIZE', message: 'missing: bytes, or with K, M, G or T' });
  else if (sizeBytes === undefined)
    mistakes.push({ option: 'SIZE', message: `${quoted(text)}: must be a number of bytes, or one with K, M, G or T` });
  else if (!Number.isSafeInteger(sizeBytes) || sizeBytes === 0 || sizeBytes % SECTOR_BYTES !== 0)
    mistakes.push({ option: 'SIZE', message: `${quoted(text)}: must be a multiple of ${SECTOR_BYTES} bytes` });
  return sizeBytes ?? 0;
}

function create({ path, sizeBytes, backing }: Request): void {
  checkBacking(path, backing);
  using fd = Fd.open(path, OpenFlag.RDWR | OpenFlag.CREAT | OpenFlag.EXCL, 0o666);
  try {
    createQcow2(new HostImageFile(fd), { sizeBytes, backing });
  } catch (error) {
    unlinkSync(path);
    throw error;
  }
}

/** What cannot be opened later is said now. A relative name is relative to the new image. */
function checkBacking(path: string, backing: Backing | undefined): void {
  if (backing === undefined) return;
  const { name, format } = backing;
  if (/^[^/]*:/.test(name))
    throw new DiskError('UNSUPPORTED', `--backing: ${quoted(name)} is no path: write ./ before it`);
  const chain = openChain(resolve(dirname(path), name), { format, readOnly: true, lock: false });
  for (const { fd } of chain) fd.close();
}
