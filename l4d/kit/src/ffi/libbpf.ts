import koffi from 'koffi';
import { exitCode, OperatorError, SyscallError, VerifierError } from '../errors.ts';

/**
 * libbpf 1.x through FFI: opening and loading objects, links, maps, test runs. Thin: it names
 * failures and keeps pointers from leaking; what to load and where to pin is decided elsewhere.
 */

/** An opened or loaded BPF object. */
export type BpfObject = bigint & { readonly __bpfObject?: never };

/** Modes of an XDP attachment (UAPI XDP_FLAGS_*). */
export const xdpFlag = { generic: 1 << 1, native: 1 << 2 } as const;

/** enum bpf_attach_type */
const attachType = { skLookup: 36, xdp: 37 } as const;

const BPF_TC_INGRESS = 1;
const BPF_TC_EGRESS = 2;

/** enum libbpf_print_level */
const LIBBPF_DEBUG = 2;

/** enum bpf_map_type */
const mapType = { array: 2, programArray: 3 } as const;

type Library = ReturnType<typeof bindLibrary>;
let library: Library | undefined;

function bindLibrary() {
  const lib = loadLibrary();
  const libc = koffi.load(null);
  return {
    openFile: lib.func('void *bpf_object__open_file(const char *path, const void *options)'),
    load: lib.func('int bpf_object__load(void *object)'),
    close: lib.func('void bpf_object__close(void *object)'),
    findMap: lib.func('void *bpf_object__find_map_by_name(void *object, const char *name)'),
    findProgram: lib.func('void *bpf_object__find_program_by_name(void *object, const char *name)'),
    nextMap: lib.func('void *bpf_object__next_map(void *object, void *map)'),
    mapName: lib.func('const char *bpf_map__name(void *map)'),
    mapSetMaxEntries: lib.func('int bpf_map__set_max_entries(void *map, uint32_t count)'),
    mapCreate: lib.func(
      'int bpf_map_create(int type, const char *name, uint32_t key, uint32_t value, uint32_t entries, const void *options)',
    ),
    mapFd: lib.func('int bpf_map__fd(void *map)'),
    mapReuseFd: lib.func('int bpf_map__reuse_fd(void *map, int fd)'),
    mapInitialValue: lib.func('void *bpf_map__initial_value(void *map, _Out_ size_t *size)'),
    mapSetInitialValue: lib.func('int bpf_map__set_initial_value(void *map, const void *data, size_t size)'),
    mapType: lib.func('int bpf_map__type(void *map)'),
    mapSetType: lib.func('int bpf_map__set_type(void *map, int type)'),
    programFd: lib.func('int bpf_program__fd(void *program)'),
    nextProgram: lib.func('void *bpf_object__next_program(void *object, void *program)'),
    setAutoload: lib.func('int bpf_program__set_autoload(void *program, bool autoload)'),
    linkCreate: lib.func('int bpf_link_create(int program, int target, int type, const void *options)'),
    linkUpdate: lib.func('int bpf_link_update(int link, int program, const void *options)'),
    programAttach: lib.func('int bpf_prog_attach(int program, int target, int type, unsigned int flags)'),
    linkDetach: lib.func('int bpf_link_detach(int link)'),
    objPin: lib.func('int bpf_obj_pin(int fd, const char *path)'),
    mapById: lib.func('int bpf_map_get_fd_by_id(uint32_t id)'),
    objGet: lib.func('int bpf_obj_get(const char *path)'),
    objInfo: lib.func('int bpf_obj_get_info_by_fd(int fd, void *info, _Inout_ uint32_t *length)'),
    tcHookCreate: lib.func('int bpf_tc_hook_create(void *hook)'),
    tcAttach: lib.func('int bpf_tc_attach(const void *hook, void *options)'),
    tcQuery: lib.func('int bpf_tc_query(const void *hook, _Inout_ uint8_t *options)'),
    tcDetach: lib.func('int bpf_tc_detach(const void *hook, const void *options)'),
    xdpQueryId: lib.func('int bpf_xdp_query_id(int ifindex, int flags, _Out_ uint32_t *id)'),
    update: lib.func('int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)'),
    lookup: lib.func('int bpf_map_lookup_elem(int fd, const void *key, void *value)'),
    delete: lib.func('int bpf_map_delete_elem(int fd, const void *key)'),
    lookupAndDelete: lib.func('int bpf_map_lookup_and_delete_elem(int fd, const void *key, void *value)'),
    nextKey: lib.func('int bpf_map_get_next_key(int fd, const void *key, void *next)'),
    updateBatch: lib.func(
      'int bpf_map_update_batch(int fd, const void *keys, const void *values, _Inout_ uint32_t *count, const void *options)',
    ),
    lookupBatch: lib.func(
      'int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, _Inout_ uint32_t *count, const void *options)',
    ),
    // The count as memory, which stays where it is while the call runs beside the event loop.
    lookupBatchBeside: lib.func(
      'int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, void *count, const void *options)',
    ),
    btfOfKernel: lib.func('void *btf__load_from_kernel_by_id(uint32_t id)'),
    btfData: lib.func('void *btf__raw_data(void *btf, _Out_ uint32_t *size)'),
    btfFree: lib.func('void btf__free(void *btf)'),
    testRun: lib.func('int bpf_prog_test_run_opts(int fd, void *options)'),
    probeHelper: lib.func('int libbpf_probe_bpf_helper(int programType, int helper, const void *options)'),
    possibleCpus: lib.func('int libbpf_num_possible_cpus()'),
    setPrint: lib.func('void *libbpf_set_print(void *callback)'),
    vsnprintf: libc.func('int vsnprintf(void *buffer, size_t size, void *format, void *arguments)'),
  };
}

function loadLibrary() {
  try {
    return koffi.load('libbpf.so.1');
  } catch {
    throw new OperatorError(
      'libbpf.so.1 is not installed; l4d loads its kernel programs through it (Debian: apt-get install libbpf1)',
      exitCode.system,
    );
  }
}

const printed: string[] = [];

/** Binds libbpf on first use, so that a machine without it can still run what needs none. */
function bpf(): Library {
  if (library !== undefined) return library;
  library = bindLibrary();
  const bound = library;
  const prototype = koffi.proto('int l4d_print(int level, void *format, void *arguments)');
  // The callback is process-global: this module must not be loaded in a worker that can exit.
  const callback = koffi.register((level: number, format: unknown, args: unknown) => {
    // A thousand lines an object, which nobody reads: what a verifier says comes as a warning.
    if (level >= LIBBPF_DEBUG) return 0;
    const buffer = Buffer.allocUnsafe(1 << 18);
    const length = bound.vsnprintf(buffer, buffer.length, format, args) as number;
    printed.push(buffer.toString('utf8', 0, Math.min(length, buffer.length - 1)));
    if (printed.length > 1000) printed.shift();
    return length;
  }, koffi.pointer(prototype));
  bound.setPrint(callback);
  return library;
}

/** Opens an object file without loading it. Throws SyscallError. */
export function openObject(path: string): BpfObject {
  const object = bpf().openFile(path, null);
  if (object === null) throw new SyscallError(`bpf_object__open_file ${path}`, koffi.errno());
  return object as BpfObject;
}

/** Names of the object's maps, internal ones (`.rodata`) included. */
export function mapNames(object: BpfObject): string[] {
  const names: string[] = [];
  for (let map = bpf().nextMap(object, null); map !== null; map = bpf().nextMap(object, map)) {
    names.push(bpf().mapName(map) as string);
  }
  return names;
}

/** Sets a map's size before loading. Throws SyscallError. */
export function setMaxEntries(object: BpfObject, mapName: string, count: number): void {
  check('bpf_map__set_max_entries', bpf().mapSetMaxEntries(findMap(object, mapName), count));
}

/** Makes the object use an existing map (its descriptor is duplicated). Throws SyscallError. */
export function reuseMap(object: BpfObject, mapName: string, fd: number): void {
  check(`bpf_map__reuse_fd ${mapName}`, bpf().mapReuseFd(findMap(object, mapName), fd));
}

/** Overwrites bytes of a data section (`.rodata`) before loading. Throws SyscallError. */
export function setData(object: BpfObject, section: string, offset: number, bytes: Uint8Array): void {
  const name = mapNames(object).find((candidate) => candidate.endsWith(section)) ?? section;
  const map = findMap(object, name);
  const size: [number | bigint] = [0];
  const address = bpf().mapInitialValue(map, size);
  const image = Buffer.from(new Uint8Array(koffi.view(address, Number(size[0]))));
  image.set(bytes, offset);
  check('bpf_map__set_initial_value', bpf().mapSetInitialValue(map, image, image.length));
}

/** Loads programs and maps into the kernel. Throws VerifierError with the log, or SyscallError. */
export function loadObject(object: BpfObject, name: string): void {
  printed.length = 0;
  const result = bpf().load(object) as number;
  if (result < 0) {
    if (result === -1)
      throw new SyscallError(`load ${name}`, 1, 'root or CAP_BPF and CAP_NET_ADMIN are needed');
    throw new VerifierError(name, -result, printed.join(''));
  }
}

/**
 * Has `loadObject` make the object's maps alone: to verify programs takes far longer. A map of programs is made as a
 * plain array, as there are none to put into it. Throws SyscallError.
 */
export function leaveOutPrograms(object: BpfObject): void {
  const { nextProgram, nextMap } = bpf();
  for (let one = nextProgram(object, null); one !== null; one = nextProgram(object, one)) {
    check('bpf_program__set_autoload', bpf().setAutoload(one, false));
  }
  for (let map = nextMap(object, null); map !== null; map = nextMap(object, map)) {
    if (bpf().mapType(map) !== mapType.programArray) continue;
    check('bpf_map__set_type', bpf().mapSetType(map, mapType.array));
  }
}

/** Frees the object; programs and maps live on while something refers to them. */
export function closeObject(object: BpfObject): void {
  bpf().close(object);
}

/** Descriptor of a loaded object's map; owned by the object. */
export function mapFd(object: BpfObject, mapName: string): number {
  return check(`bpf_map__fd ${mapName}`, bpf().mapFd(findMap(object, mapName)));
}

/** Descriptor of a loaded object's program; owned by the object. */
export function programFd(object: BpfObject, programName: string): number {
  const program = bpf().findProgram(object, programName);
  if (program === null) throw new SyscallError(`program ${programName}`, 2);
  return check('bpf_program__fd', bpf().programFd(program));
}

/** Attaches an XDP program to an interface by a link; returns the link's descriptor. Throws SyscallError. */
export function attachXdp(program: number, interfaceIndex: number, flags: number): number {
  const options = Buffer.alloc(64);
  options.writeBigUInt64LE(64n, 0);
  options.writeUInt32LE(flags, 8);
  return checkErrno('bpf_link_create', bpf().linkCreate(program, interfaceIndex, attachType.xdp, options));
}

/** Attaches an sk_lookup program to a network namespace's descriptor; returns the link's. Throws SyscallError. */
export function attachSkLookup(program: number, namespaceFd: number): number {
  return checkErrno('bpf_link_create', bpf().linkCreate(program, namespaceFd, attachType.skLookup, null));
}

const BPF_SK_SKB_STREAM_VERDICT = 5;

/** Has a program decide what becomes of all that comes on sockets of a sockmap, until the map goes. Throws SyscallError. */
export function attachStreamVerdict(program: number, sockmap: number): void {
  const result = bpf().programAttach(program, sockmap, BPF_SK_SKB_STREAM_VERDICT, 0);
  if (result < 0) throw new SyscallError('bpf_prog_attach', -result);
}

/**
 * Swaps a link's program in one step. Off the event loop: the kernel waits for a grace period,
 * 9 to 16 ms. Throws SyscallError.
 */
export function updateLink(link: number, program: number): Promise<void> {
  return new Promise((resolve, reject) => {
    bpf().linkUpdate.async(link, program, null, (error: Error | null, result: number) => {
      if (error !== null) reject(error);
      else if (result < 0) reject(new SyscallError('bpf_link_update', -result));
      else resolve();
    });
  });
}

/** Detaches a link whoever else holds it. Throws SyscallError. */
export function detachLink(link: number): void {
  checkErrno('bpf_link_detach', bpf().linkDetach(link));
}

/** Pins a program, map or link in bpffs. Throws SyscallError (EEXIST when the path is taken). */
export function pin(fd: number, path: string): void {
  checkErrno(`bpf_obj_pin ${path}`, bpf().objPin(fd, path));
}

/** Opens a pinned object; undefined when there is none. Throws SyscallError otherwise. */
export function openPinned(path: string): number | undefined {
  const fd = bpf().objGet(path) as number;
  if (fd >= 0) return fd;
  const errno = koffi.errno();
  if (errno === 2) return undefined;
  throw new SyscallError(`bpf_obj_get ${path}`, errno);
}

/** struct bpf_map_info, the first members. Throws SyscallError. */
export function mapInfo(fd: number): { id: number; keySize: number; valueSize: number; maxEntries: number } {
  const info = objectInfo(fd);
  return {
    id: info.readUInt32LE(4),
    keySize: info.readUInt32LE(8),
    valueSize: info.readUInt32LE(12),
    maxEntries: info.readUInt32LE(16),
  };
}

/** What else struct bpf_map_info tells: how it was made, and of what types. Throws SyscallError. */
export function mapKind(fd: number): { type: number; btf: number; keyType: number; valueType: number } {
  const info = objectInfo(fd);
  return {
    type: info.readUInt32LE(0),
    btf: info.readUInt32LE(64),
    keyType: info.readUInt32LE(68),
    valueType: info.readUInt32LE(72),
  };
}

/** The types that the kernel keeps under that number (BTF). Throws SyscallError. */
export function kernelBtf(id: number): Uint8Array {
  const btf = bpf().btfOfKernel(id);
  if (btf === null) throw new SyscallError(`btf__load_from_kernel_by_id ${id}`, koffi.errno());
  try {
    const size: [number] = [0];
    const data = bpf().btfData(btf, size);
    return new Uint8Array(koffi.view(data, Number(size[0]))).slice();
  } finally {
    bpf().btfFree(btf);
  }
}

/** struct bpf_prog_info: id and tag (a digest of the instructions, hex). Throws SyscallError. */
export function programInfo(fd: number): { id: number; tag: string } {
  const info = objectInfo(fd);
  return { id: info.readUInt32LE(4), tag: info.toString('hex', 8, 16) };
}

/** struct bpf_link_info of an XDP link; interfaceIndex is 0 when the interface is gone. Throws SyscallError. */
export function xdpLinkInfo(fd: number): { programId: number; interfaceIndex: number } {
  const info = objectInfo(fd);
  return { programId: info.readUInt32LE(8), interfaceIndex: info.readUInt32LE(16) };
}

/** struct bpf_link_info of an sk_lookup link: inode of its network namespace, 0 when that is gone. Throws SyscallError. */
export function namespaceLinkInfo(fd: number): { programId: number; namespaceInode: number } {
  const info = objectInfo(fd);
  return { programId: info.readUInt32LE(8), namespaceInode: info.readUInt32LE(16) };
}

function objectInfo(fd: number): Buffer {
  const info = Buffer.alloc(256);
  checkErrno('bpf_obj_get_info_by_fd', bpf().objInfo(fd, info, [info.length]));
  return info;
}

/** Id of the XDP program on an interface in that mode; 0 when there is none. Throws SyscallError. */
export function xdpProgramId(interfaceIndex: number, flags: number): number {
  const id: [number] = [0];
  checkErrno('bpf_xdp_query_id', bpf().xdpQueryId(interfaceIndex, flags, id));
  return id[0];
}

/** Place of our filters on an interface: any other user of tc keeps theirs. */
const tcHandle = 0x6c34;
const tcPriority = 0x6c34;

/** Attaches (or replaces) a tc egress program on an interface. Throws SyscallError. */
export function attachTcEgress(program: number, interfaceIndex: number): void {
  attachTc(program, interfaceIndex, BPF_TC_EGRESS);
}

/** Removes our tc egress program; no error when it is not there. Throws SyscallError otherwise. */
export function detachTcEgress(interfaceIndex: number): void {
  detachTc(interfaceIndex, BPF_TC_EGRESS);
}

/** Attaches (or replaces) a tc ingress program on an interface. Throws SyscallError. */
export function attachTcIngress(program: number, interfaceIndex: number): void {
  attachTc(program, interfaceIndex, BPF_TC_INGRESS);
}

/** Removes our tc ingress program; no error when it is not there. Throws SyscallError otherwise. */
export function detachTcIngress(interfaceIndex: number): void {
  detachTc(interfaceIndex, BPF_TC_INGRESS);
}

/** Id of our tc ingress program on an interface; 0 when it is not there. Throws SyscallError. */
export function tcIngressProgramId(interfaceIndex: number): number {
  const options = tcOptions();
  const result = bpf().tcQuery(tcHook(interfaceIndex, BPF_TC_INGRESS), options) as number;
  if (result === -2 || result === -22 || result === -19) return 0;
  checkErrno('bpf_tc_query', result);
  return options.readUInt32LE(16);
}

function attachTc(program: number, interfaceIndex: number, point: number): void {
  const hook = tcHook(interfaceIndex, point);
  const created = bpf().tcHookCreate(hook) as number;
  if (created < 0 && created !== -17) throw new SyscallError('bpf_tc_hook_create', -created);
  const options = tcOptions();
  options.writeInt32LE(program, 8);
  options.writeUInt32LE(1, 12); // BPF_TC_F_REPLACE
  checkErrno('bpf_tc_attach', bpf().tcAttach(hook, options));
}

function detachTc(interfaceIndex: number, point: number): void {
  const result = bpf().tcDetach(tcHook(interfaceIndex, point), tcOptions()) as number;
  // No such filter, no clsact, no such interface.
  if (result < 0 && ![-2, -22, -19].includes(result)) throw new SyscallError('bpf_tc_detach', -result);
}

/** struct bpf_tc_hook: size, ifindex, attach point, parent. */
function tcHook(interfaceIndex: number, point: number): Buffer {
  const hook = Buffer.alloc(24);
  hook.writeBigUInt64LE(24n, 0);
  hook.writeInt32LE(interfaceIndex, 8);
  hook.writeUInt32LE(point, 12);
  return hook;
}

/** struct bpf_tc_opts: size, prog_fd, flags, prog_id, handle, priority. */
function tcOptions(): Buffer {
  const options = Buffer.alloc(32);
  options.writeBigUInt64LE(32n, 0);
  options.writeUInt32LE(tcHandle, 20);
  options.writeUInt32LE(tcPriority, 24);
  return options;
}

/** Writes an element. `flags`: 0 any, 1 only new, 2 only existing. Throws SyscallError. */
export function updateElement(fd: number, key: Uint8Array, value: Uint8Array, flags = 0): void {
  checkErrno('bpf_map_update_elem', bpf().update(fd, key, value, flags));
}

/** Reads an element into `value`; false when there is none. Throws SyscallError otherwise. */
export function lookupElement(fd: number, key: Uint8Array, value: Uint8Array): boolean {
  if ((bpf().lookup(fd, key, value) as number) === 0) return true;
  const errno = koffi.errno();
  if (errno === 2) return false;
  throw new SyscallError('bpf_map_lookup_elem', errno);
}

/** Deletes an element; false when there was none. Throws SyscallError otherwise. */
export function deleteElement(fd: number, key: Uint8Array): boolean {
  if ((bpf().delete(fd, key) as number) === 0) return true;
  const errno = koffi.errno();
  if (errno === 2) return false;
  throw new SyscallError('bpf_map_delete_elem', errno);
}

/** All keys of a hash map (those there throughout; concurrent changes may hide or repeat others). */
export function mapKeys(fd: number, keySize: number): Uint8Array[] {
  const keys: Uint8Array[] = [];
  let key: Uint8Array | null = null;
  for (;;) {
    const next = new Uint8Array(keySize);
    if ((bpf().nextKey(fd, key, next) as number) !== 0) return keys;
    keys.push(next);
    key = next;
  }
}

/** Writes many elements in one call; keys and values lie back to back. Throws SyscallError. */
export function updateBatch(fd: number, keys: Uint8Array, values: Uint8Array, count: number): void {
  if (count === 0) return;
  checkErrno('bpf_map_update_batch', bpf().updateBatch(fd, keys, values, [count], null));
}

/**
 * Reads `count` elements of an array map from index `first` on in one call; the result holds the values back
 * to back, those of each CPU where it has such. Throws SyscallError.
 */
export function lookupArray(fd: number, valueSize: number, count: number, first = 0): Uint8Array {
  const values = new Uint8Array(valueSize * count);
  if (count === 0) return values;
  const result = bpf().lookupBatch(
    fd,
    // The kernel goes on after that key.
    first === 0 ? null : new Uint8Array(Uint32Array.of(first - 1).buffer),
    new Uint8Array(4),
    new Uint8Array(4 * count),
    values,
    [count],
    null,
  );
  // ENOENT tells that the end of the map was reached.
  if ((result as number) < 0 && koffi.errno() !== 2)
    throw new SyscallError('bpf_map_lookup_batch', koffi.errno());
  return values;
}

/** A part of a hash map, and where to go on. */
export interface HashBatch {
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
  readonly count: number;
  /** Given to the next call; undefined: the end was reached. */
  readonly next: Uint8Array | undefined;
}

/**
 * Reads so many elements of a hash map from `from` (undefined: the beginning) on; an LRU map does not take it for
 * use. Off the event loop: an almost empty map is gone through bucket by bucket. Elements there throughout are read
 * once; `room` must be larger than a chain of collisions. Throws SyscallError.
 */
export function readHashBatch(
  fd: number,
  sizes: { readonly key: number; readonly value: number },
  room: number,
  from: Uint8Array | undefined,
): Promise<HashBatch> {
  const keys = new Uint8Array(sizes.key * room);
  const values = new Uint8Array(sizes.value * room);
  const next = new Uint8Array(4);
  const count = Uint32Array.of(room);
  return new Promise((resolve, reject) => {
    bpf().lookupBatchBeside.async(
      ...[fd, from ?? null, next, keys, values, count, null],
      (error: Error | null, result: number) => {
        // ENOENT tells that the end of the map was reached.
        if (error !== null) reject(error);
        else if (result < 0 && result !== -2) reject(new SyscallError('bpf_map_lookup_batch', -result));
        else resolve({ keys, values, count: count[0] ?? 0, next: result < 0 ? undefined : next });
      },
    );
  });
}

/** A map of that id, which a map of maps gives as its value. Throws SyscallError. */
export function openMapById(id: number): number {
  return checkErrno('bpf_map_get_fd_by_id', bpf().mapById(id));
}

/** BPF_MAP_TYPE_LRU_HASH. */
const lruHash = 9;

/** Makes an LRU hash map without a name in bpffs; it lives for as long as somebody holds it. Throws SyscallError. */
export function createLruMap(name: string, keySize: number, valueSize: number, entries: number): number {
  return checkErrno('bpf_map_create', bpf().mapCreate(lruHash, name, keySize, valueSize, entries, null));
}

const arrayMap = 2;
/** BPF_F_MMAPABLE */
const mmapable = 1 << 10;

/** Makes an array map without a name, in shared memory when asked; returns its descriptor. Throws SyscallError. */
export function createArray(valueSize: number, entries: number, isMapped: boolean): number {
  // struct bpf_map_create_opts: size, five descriptors and type ids, map_flags.
  const options = Buffer.alloc(48);
  options.writeBigUInt64LE(48n, 0);
  options.writeUInt32LE(isMapped ? mmapable : 0, 28);
  return checkErrno('bpf_map_create', bpf().mapCreate(arrayMap, null, 4, valueSize, entries, options));
}

/** enum bpf_func_id of helpers that not every kernel has. */
export const helperId = { jiffies64: 118, xdpGetBuffLen: 188 } as const;

const xdpProgramType = 6;

/** Whether XDP programs may call a helper, by its number in enum bpf_func_id. */
export function hasXdpHelper(helper: number): boolean {
  return (bpf().probeHelper(xdpProgramType, helper, null) as number) === 1;
}

/**
 * Elements of a hash map, `limit` at a time, from where an earlier call has ended (`cursor`); undefined at the end.
 * Keys and values lie back to back. Those there throughout are given. Throws SyscallError.
 */
export function lookupHash(
  fd: number,
  keySize: number,
  valueSize: number,
  limit: number,
  cursor: Uint8Array | undefined,
): { keys: Uint8Array; values: Uint8Array; count: number; cursor: Uint8Array | undefined } {
  const next = new Uint8Array(Math.max(4, keySize));
  const keys = new Uint8Array(keySize * limit);
  const values = new Uint8Array(valueSize * limit);
  const count: [number] = [limit];
  const result = bpf().lookupBatch(fd, cursor ?? null, next, keys, values, count, null) as number;
  const errno = result < 0 ? koffi.errno() : 0;
  if (errno !== 0 && errno !== 2) throw new SyscallError('bpf_map_lookup_batch', errno);
  return { keys, values, count: Number(count[0]), cursor: errno === 2 ? undefined : next };
}

/** Writes a new element; false when there is one already. Throws SyscallError otherwise. */
export function addElement(fd: number, key: Uint8Array, value: Uint8Array): boolean {
  if ((bpf().update(fd, key, value, 1) as number) === 0) return true;
  const errno = koffi.errno();
  if (errno === 17) return false;
  throw new SyscallError('bpf_map_update_elem', errno);
}

/** Reads an element into `value` and deletes it, in one step; false when there was none. Throws SyscallError otherwise. */
export function takeElement(fd: number, key: Uint8Array, value: Uint8Array): boolean {
  if ((bpf().lookupAndDelete(fd, key, value) as number) === 0) return true;
  const errno = koffi.errno();
  if (errno === 2) return false;
  throw new SyscallError('bpf_map_lookup_and_delete_elem', errno);
}

/** CPUs that the kernel may ever have: the number of values in a per-CPU element. */
export function possibleCpus(): number {
  return checkErrno('libbpf_num_possible_cpus', bpf().possibleCpus());
}

/** What a program did with a packet. */
export interface TestRun {
  /** The program's return value, such as XDP_TX. */
  readonly action: number;
  readonly packet: Uint8Array;
  /** What has become of the context; empty where there was none. */
  readonly context: Uint8Array;
  /** Mean time of one repeat in nanoseconds. */
  readonly nanoseconds: number;
}

/**
 * Runs a program on a packet in the kernel (BPF_PROG_TEST_RUN). `context` is the memory of its
 * context where the program reads more than the packet, such as a __sk_buff with a mark.
 * Throws SyscallError.
 */
export function testRun(program: number, packet: Uint8Array, repeat = 1, context?: Uint8Array): TestRun {
  const output = Buffer.alloc(packet.length + 512);
  const contextAfter = Buffer.alloc(context?.length ?? 0);
  const options = Buffer.alloc(80);
  options.writeBigUInt64LE(80n, 0);
  options.writeBigUInt64LE(BigInt(koffi.address(packet)), 8);
  options.writeBigUInt64LE(BigInt(koffi.address(output)), 16);
  options.writeUInt32LE(packet.length, 24);
  options.writeUInt32LE(output.length, 28);
  if (context !== undefined) {
    options.writeBigUInt64LE(BigInt(koffi.address(context)), 32);
    options.writeBigUInt64LE(BigInt(koffi.address(contextAfter)), 40);
    options.writeUInt32LE(context.length, 48);
    options.writeUInt32LE(context.length, 52);
  }
  options.writeInt32LE(repeat, 60);
  checkErrno('bpf_prog_test_run', bpf().testRun(program, options));
  return {
    action: options.readUInt32LE(56),
    packet: Uint8Array.from(output.subarray(0, options.readUInt32LE(28))),
    context: Uint8Array.from(contextAfter),
    nanoseconds: options.readUInt32LE(64),
  };
}

/** What an sk_lookup program did. */
export interface LookupRun {
  /** Cookie of the socket that it has chosen, 0: none; undefined: it refuses. */
  readonly cookie: bigint | undefined;
  /** Mean time of one repeat in nanoseconds. */
  readonly nanoseconds: number;
}

/**
 * Runs an sk_lookup program on its context: struct bpf_sk_lookup, its first 8 bytes 0 (Linux 5.14 and later).
 * Throws SyscallError.
 */
export function testLookup(program: number, context: Uint8Array, repeat = 1): LookupRun {
  const output = Buffer.alloc(context.length);
  const options = Buffer.alloc(80);
  options.writeBigUInt64LE(80n, 0);
  options.writeBigUInt64LE(BigInt(koffi.address(context)), 32);
  options.writeBigUInt64LE(BigInt(koffi.address(output)), 40);
  options.writeUInt32LE(context.length, 48);
  options.writeUInt32LE(output.length, 52);
  options.writeInt32LE(repeat, 60);
  checkErrno('bpf_prog_test_run', bpf().testRun(program, options));
  const pass = 1;
  const cookie = options.readUInt32LE(56) === pass ? output.readBigUInt64LE(0) : undefined;
  return { cookie, nanoseconds: options.readUInt32LE(64) };
}

/** BPF_F_TEST_XDP_LIVE_FRAMES: what the program decides really happens to the frame. */
const liveFrames = 1 << 1;
/** Frames that the kernel hands over at a time: as many as a driver's poll. */
const liveBatch = 64;

/**
 * Lets an XDP program handle `count` real frames of that size, in the calling thread's network namespace: what it
 * redirects is sent (Linux 5.18 and later). Throws SyscallError.
 */
export function testRunLive(program: number, packet: Uint8Array, count: number): void {
  const options = Buffer.alloc(80);
  options.writeBigUInt64LE(80n, 0);
  options.writeBigUInt64LE(BigInt(koffi.address(packet)), 8);
  options.writeUInt32LE(packet.length, 24);
  options.writeInt32LE(count, 60);
  options.writeUInt32LE(liveFrames, 68);
  options.writeUInt32LE(liveBatch, 76);
  checkErrno('bpf_prog_test_run with live frames', bpf().testRun(program, options));
}

function findMap(object: BpfObject, name: string): unknown {
  const map = bpf().findMap(object, name);
  if (map === null) throw new SyscallError(`map ${name}`, 2);
  return map;
}

/** For calls that return -errno. */
function check(call: string, result: unknown): number {
  const value = Number(result);
  if (value < 0) throw new SyscallError(call, -value);
  return value;
}

/** For libbpf's low-level calls: -errno (libbpf 1.x), errno set as well. */
function checkErrno(call: string, result: unknown): number {
  const value = Number(result);
  if (value < 0) throw new SyscallError(call, value === -1 ? koffi.errno() || 1 : -value);
  return value;
}
