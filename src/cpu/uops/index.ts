/** Imports every family of micro-operations, which registers them. */
import './alu.ts';
import './data.ts';
import './control.ts';
import './divide.ts';
import './locked.ts';
import './simd.ts';
import './simd-packed.ts';
import './sse-float.ts';
import './wide.ts';
