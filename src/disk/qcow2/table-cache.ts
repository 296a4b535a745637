import { viewOf } from '#util/struct.ts';
import type { ImageFile } from './image-file.ts';

/** One cluster of entries in memory. */
export interface Table {
  offset: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  isDirty: boolean;
  usedAt: number;
}

export interface TableCacheOptions {
  readonly file: ImageFile;
  readonly tableBytes: number;
  readonly capacity: number;
  /** Called when all tables are dirty and room is needed; makes them clean. */
  readonly relieve: () => void;
}

/** The tables of one kind that were used last. A dirty one stays until it is written. */
export class TableCache {
  readonly #options: TableCacheOptions;
  readonly #tables = new Map<number, Table>();
  readonly #dirty = new Set<Table>();
  #now = 0;

  constructor(options: TableCacheOptions) {
    this.#options = options;
  }

  get hasDirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** The table at an offset that is known to be one of the file. Valid until the next call. */
  get(offset: number): Table {
    const known = this.#tables.get(offset);
    if (known !== undefined) {
      known.usedAt = ++this.#now;
      return known;
    }
    const table = this.#room();
    this.#options.file.read(offset, table.bytes);
    return this.#place(table, offset);
  }

  /** An empty table at the offset of a new cluster, dirty. */
  create(offset: number): Table {
    const table = this.#tables.get(offset) ?? this.#place(this.#room(), offset);
    table.bytes.fill(0);
    this.markDirty(table);
    return table;
  }

  markDirty(table: Table): void {
    if (table.isDirty) return;
    table.isDirty = true;
    this.#dirty.add(table);
  }

  writeDirty(): void {
    for (const table of this.#dirty) {
      this.#options.file.write(table.offset, table.bytes);
      table.isDirty = false;
      this.#dirty.delete(table);
    }
  }

  #place(table: Table, offset: number): Table {
    table.offset = offset;
    table.usedAt = ++this.#now;
    this.#tables.set(offset, table);
    return table;
  }

  /** A table that is in no use, whatever its content. */
  #room(): Table {
    const { tableBytes, capacity, relieve } = this.#options;
    if (this.#tables.size < capacity) {
      const bytes = new Uint8Array(tableBytes);
      return { offset: 0, bytes, view: viewOf(bytes), isDirty: false, usedAt: 0 };
    }
    if (this.#dirty.size === this.#tables.size) relieve();
    let oldest: Table | undefined;
    for (const table of this.#tables.values()) {
      if (!table.isDirty && (oldest === undefined || table.usedAt < oldest.usedAt)) oldest = table;
    }
    if (oldest === undefined) throw new Error('relieve made no table clean');
    this.#tables.delete(oldest.offset);
    return oldest;
  }
}
