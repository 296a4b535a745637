import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BusDevice } from '#devices/bus-device.ts';
import { SoftwareIrqChip } from '#hypervisor/software/irq-chip.ts';
import type { Clock } from '#util/clock.ts';
import { BOARD_STATE_WORDS, Board, type BoardOptions } from './board.ts';
import { IO_APIC_ADDRESS, PCI_ECAM, PORT, RESET_CONTROL_VALUE, SERIAL_PORTS } from './layout.ts';

const clock: Clock = { nowNs: () => 1e9, wallMs: () => 0 };

/** A board of its own whose outputs and events are recorded. */
function createBoard(
  state = new Int32Array(BOARD_STATE_WORDS),
  debugConsole = true,
  remoteSerialPorts: readonly (BusDevice | undefined)[] = [],
  others: Partial<Pick<BoardOptions, 'remoteI8042' | 'remoteCmos' | 'debugExit'>> = {},
) {
  const outputs = SERIAL_PORTS.map(() => '');
  const events: string[] = [];
  let debug = '';
  const lines: string[] = [];
  const chip = new SoftwareIrqChip(new Int32Array(SoftwareIrqChip.stateWords(1)), {
    vcpuCount: 1,
    clock,
    tscToNs: (_vcpu, ticks) => ticks,
  });
  const board = new Board({
    state,
    clock,
    irqChip: {
      parts: chip.parts,
      send: () => {},
      line: (gsi, source = 0) => ({ set: (asserted) => void lines.push(`${gsi}/${source}:${asserted ? 1 : 0}`) }),
    },
    serialOutputs: SERIAL_PORTS.map((_, port) => ({
      write: (byte) => {
        outputs[port] += String.fromCharCode(byte);
      },
      flush: () => void events.push(`flush ${port}`),
    })),
    debugOutput: debugConsole
      ? {
          write: (byte) => {
            debug += String.fromCharCode(byte);
          },
        }
      : undefined,
    remoteSerialPorts,
    ...others,
    lowMemoryBytes: 256 << 20,
    highMemoryBytes: 0,
    highMmio: { start: 2 ** 32, sizeBytes: 2 ** 36 },
    events: {
      onPowerOff: () => void events.push('power-off'),
      onReset: () => void events.push('reset'),
      onDebugExit: (value) => void events.push(`debug exit ${value}`),
      onInputSpace: (port) => void events.push(`input ${port}`),
    },
  });
  return { board, outputs, events, lines, debug: () => debug };
}

function readPort(board: Board, port: number, sizeBytes = 1): number[] {
  const data = new Uint8Array(sizeBytes);
  board.readPort(port, data);
  return [...data];
}

describe('the ports of the board', () => {
  test('the clock and the keyboard controller may be in other processes: the board has no deadline for them', () => {
    const accesses: string[] = [];
    const remote = (name: string): BusDevice => ({
      name,
      read: (offset, data) => {
        accesses.push(`${name} read ${offset}`);
        data.fill(0x5a);
      },
      write: (offset, [value]) => void accesses.push(`${name} write ${offset} ${value}`),
    });
    const others = { remoteI8042: remote('i8042'), remoteCmos: remote('cmos') };
    const { board, events } = createBoard(undefined, true, [], others);
    board.writePort(0x70, Uint8Array.of(0x0b));
    assert.deepEqual(readPort(board, 0x71), [0x5a]);
    board.writePort(0x64, Uint8Array.of(0xfe));
    board.writePort(0x60, Uint8Array.of(1));
    assert.deepEqual(accesses, ['cmos write 0 11', 'cmos read 1', 'i8042 write 100 254', 'i8042 write 96 1']);
    assert.deepEqual([events, board.nextDeadlineNs()], [[], Infinity]);
  });

  test('each serial port writes to its own output', () => {
    const { board, outputs } = createBoard();
    SERIAL_PORTS.forEach(({ ioBase }, i) => {
      board.writePort(ioBase, Uint8Array.of(0x41 + i));
    });
    assert.deepEqual(outputs, ['A', 'B', 'C', 'D']);
  });

  test('a serial port in another process gets its accesses and has no input here, and the others stay', () => {
    const asked: string[] = [];
    const remote: BusDevice = {
      name: 'serial1',
      read: (offset, data) => {
        asked.push(`read ${offset}`);
        data.fill(0x5a);
      },
      write: (offset, data) => void asked.push(`${offset} = ${[...data]}`),
    };
    const { board, outputs } = createBoard(undefined, true, [undefined, remote]);
    for (const { ioBase } of SERIAL_PORTS) board.writePort(ioBase, Uint8Array.of(0x41));
    assert.deepEqual(readPort(board, (SERIAL_PORTS[1]?.ioBase ?? 0) + 5), [0x5a]);
    assert.deepEqual(
      [asked, outputs],
      [
        ['0 = 65', 'read 5'],
        ['A', '', 'A', 'A'],
      ],
    );
    assert.deepEqual([board.serialInputs[1]?.space(), board.serialInputs[1]?.enqueue(Uint8Array.of(1))], [0, 0]);
  });

  test('serial ports that share an interrupt are different sources of it', () => {
    const { board, lines } = createBoard();
    lines.length = 0;
    // IER, THR empty: at once pending.
    for (const { ioBase } of SERIAL_PORTS) board.writePort(ioBase + 1, Uint8Array.of(0x02));
    assert.deepEqual(
      lines.filter((line) => line.endsWith(':1')),
      ['4/0:1', '3/0:1', '4/1:1', '3/1:1'],
    );
  });

  test('nobody answers: all ones, and a write is lost', () => {
    const { board, events } = createBoard();
    board.writePort(0x1234, Uint8Array.of(1, 2, 3, 4));
    assert.deepEqual(readPort(board, 0x1234, 4), [0xff, 0xff, 0xff, 0xff]);
    assert.deepEqual(events, []);
  });

  test('a reset is asked for at ports 0xcf9 and 0x64', () => {
    const { board, events } = createBoard();
    board.writePort(PORT.RESET_CONTROL, Uint8Array.of(RESET_CONTROL_VALUE));
    board.writePort(0x64, Uint8Array.of(0xfe));
    assert.deepEqual(events, ['reset', 'reset']);
  });

  test('PCI configuration and the reset control share their ports by the width of the access', () => {
    const { board, events } = createBoard();
    board.writePort(PORT.PCI_CONFIG, Uint8Array.of(0, 0, 0, 0x80));
    assert.deepEqual(readPort(board, PORT.PCI_CONFIG, 4), [0, 0, 0, 0x80]);
    assert.deepEqual(readPort(board, PORT.PCI_CONFIG + 4, 4), [0x86, 0x80, 0x37, 0x12]);
    assert.deepEqual(readPort(board, PORT.PCI_CONFIG + 6, 2), [0x37, 0x12]);
    assert.deepEqual(readPort(board, PORT.RESET_CONTROL), [0]);
    assert.deepEqual(readPort(board, PORT.PCI_CONFIG), [0xff]);
    board.writePort(PORT.PCI_CONFIG, Uint8Array.of(0, 6, 0, 0x80));
    board.writePort(PORT.PCI_CONFIG + 2, Uint8Array.of(0xff));
    assert.deepEqual(events, []);
    board.writePort(PORT.RESET_CONTROL, Uint8Array.of(2));
    board.writePort(PORT.RESET_CONTROL, Uint8Array.of(RESET_CONTROL_VALUE));
    assert.deepEqual(events, ['reset']);
    assert.deepEqual(readPort(board, PORT.PCI_CONFIG, 4), [0, 6, 0, 0x80]);
  });

  test('the PCI windows read all ones where no BAR is', () => {
    const { board } = createBoard();
    const data = new Uint8Array(4);
    for (const address of [0xd000_0000, 0xf3ff_fffc, 2 ** 32, 2 ** 36 + 2 ** 32 - 4, PCI_ECAM.start + 0x1000]) {
      board.writeMmio(address, data.fill(0));
      board.readMmio(address, data);
      assert.deepEqual([...data], [0xff, 0xff, 0xff, 0xff]);
    }
    assert.deepEqual(readPort(board, 0xc000, 2), [0xff, 0xff]);
    board.readMmio(PCI_ECAM.start, data);
    assert.deepEqual([...data], [0x86, 0x80, 0x37, 0x12]);
  });

  test('S5 in the ACPI block powers off', () => {
    const { board, events } = createBoard();
    board.writePort(PORT.ACPI_PM + 4, Uint8Array.of(0x00, 0x34));
    assert.deepEqual(events, ['power-off']);
  });

  test('port 0x61 is the timer chip and not the keyboard controller', () => {
    const { board } = createBoard();
    assert.notDeepEqual(readPort(board, PORT.SYSTEM_CONTROL), [0xff]);
    assert.deepEqual(readPort(board, PORT.I8042), [0xff]);
  });

  test('the debug console answers 0xe9 where there is one, else nobody does', () => {
    const withConsole = createBoard();
    withConsole.board.writePort(PORT.DEBUG_CONSOLE, Uint8Array.of(0x21));
    assert.deepEqual(readPort(withConsole.board, PORT.DEBUG_CONSOLE), [0xe9]);
    assert.equal(withConsole.debug(), '!');
    const without = createBoard(new Int32Array(BOARD_STATE_WORDS), false);
    assert.deepEqual(readPort(without.board, PORT.DEBUG_CONSOLE), [0xff]);
  });

  test('the debug exit is there if it was asked for, and tells what was written', () => {
    const { board, events } = createBoard(undefined, true, [], { debugExit: true });
    board.writePort(PORT.DEBUG_EXIT, Uint8Array.of(0x21));
    assert.deepEqual([readPort(board, PORT.DEBUG_EXIT), events], [[0], ['debug exit 33']]);
    assert.deepEqual(readPort(createBoard().board, PORT.DEBUG_EXIT), [0xff]);
  });

  test('the memory size is in the CMOS: 240 MiB above 16 MiB in units of 64 KiB', () => {
    const { board } = createBoard();
    const bytes = [0x34, 0x35].map((index) => {
      board.writePort(PORT.RTC, Uint8Array.of(index));
      return readPort(board, PORT.RTC + 1)[0];
    });
    assert.deepEqual(bytes, [(240 * 16) & 0xff, (240 * 16) >> 8]);
  });
});

describe('the board', () => {
  test('has the I/O APIC in memory: version 0x11 or 0x20 with 24 pins', () => {
    const { board } = createBoard();
    board.writeMmio(IO_APIC_ADDRESS, Uint8Array.of(1, 0, 0, 0));
    const data = new Uint8Array(4);
    board.readMmio(IO_APIC_ADDRESS + 0x10, data);
    assert.equal(data[2], 23);
  });

  test('flushes every output', () => {
    const { board, events } = createBoard();
    board.flush();
    assert.deepEqual(events, ['flush 0', 'flush 1', 'flush 2', 'flush 3']);
  });

  test('another board over the same state is the same machine', () => {
    const state = new Int32Array(BOARD_STATE_WORDS);
    const one = createBoard(state);
    const other = createBoard(state);
    // Scratch register of COM2.
    one.board.writePort(0x2ff, Uint8Array.of(0x5a));
    assert.deepEqual(readPort(other.board, 0x2ff), [0x5a]);
  });

  test('input given to one board is read by the guest on another, when its driver is ready', () => {
    const state = new Int32Array(BOARD_STATE_WORDS);
    const vcpu = createBoard(state);
    const main = createBoard(state);
    const [port] = main.board.serialInputs;
    assert.equal(port?.space(), 0);
    vcpu.board.writePort(0x3fc, Uint8Array.of(0x03));
    vcpu.board.writePort(0x3f9, Uint8Array.of(0x01));
    assert.deepEqual(vcpu.events, ['input 0']);
    assert.equal(port?.enqueue(Buffer.from('k')), 1);
    assert.deepEqual(readPort(vcpu.board, 0x3f8), [0x6b]);
  });

  test('the power button raises the system control interrupt once it is enabled', () => {
    const { board, lines } = createBoard();
    board.writePort(PORT.ACPI_PM + 2, Uint8Array.of(0x00, 0x01));
    lines.length = 0;
    board.pressPowerButton();
    assert.equal(lines.at(-1), '9/0:1');
  });
});
