import koffi from 'koffi';
import { UnsupportedFeature } from '../errors.ts';
import { fixedMemory } from './event-socket.ts';

/*
 * OpenSSL 3 of the machine (libssl.so.3, libcrypto.so.3), for sockets of an epoll loop. Pointers are numbers;
 * 0 is NULL. It is loaded at first use, so that whoever speaks no TLS does not need it.
 *
 * Both libraries are bound "deep": Node exports the symbols of its own, statically linked OpenSSL, and with
 * ordinary binding libssl would call into that one with structures of another version and crash.
 */

const packageHint = 'install the Debian package libssl3 (other distributions: OpenSSL 3)';

/** Control numbers of SSL_CTX_ctrl(3) and SSL_ctrl(3), which the C macros stand for. */
export const sslControl = {
  mode: 33,
  setReadAhead: 41,
  setSessionCacheMode: 44,
  setMaxCertificateList: 51,
  setServerNameArgument: 54,
  setHostName: 55,
  setOcspResponse: 71,
  addChainCertificate: 89,
  setCurrentCertificate: 117,
  setGroupsList: 92,
  setMinVersion: 123,
  setMaxVersion: 124,
} as const;

/** Callback numbers of SSL_CTX_callback_ctrl(3). */
export const sslCallback = { serverName: 53, status: 63 } as const;

/** What SSL_get_error(3) says. */
export const sslError = { ssl: 1, wantRead: 2, wantWrite: 3, syscall: 5, zeroReturn: 6 } as const;

/** Options of SSL_CTX_set_options(3). */
export const sslOption = {
  noCompression: 1n << 17n,
  noTicket: 1n << 14n,
  serverPreference: 1n << 22n,
  noRenegotiation: 1n << 30n,
  prioritizeChacha: 1n << 21n,
} as const;

/** Protocol versions on the wire. */
export const tlsVersionNumber = { '1.0': 0x301, '1.1': 0x302, '1.2': 0x303, '1.3': 0x304 } as const;

function load() {
  const open = (name: string) => {
    try {
      return koffi.load(name, { deep: true });
    } catch (error) {
      throw new UnsupportedFeature(
        `${name} (TLS)`,
        `${packageHint}; ${error instanceof Error ? error.message : error}`,
      );
    }
  };
  // libcrypto first: bound deep by itself, not as a dependency that Node's symbols could come before.
  const crypto = open('libcrypto.so.3');
  const ssl = open('libssl.so.3');
  type Address = number;
  return {
    version: crypto.func('const char *OpenSSL_version(int)') as (what: number) => string,
    errorNext: crypto.func('unsigned long ERR_get_error()') as () => number,
    errorClear: crypto.func('void ERR_clear_error()') as () => void,
    errorReason: crypto.func('const char *ERR_reason_error_string(unsigned long)') as (
      code: number,
    ) => string | null,
    freePointer: crypto.func('void CRYPTO_free(uintptr_t, const char *, int)') as (
      pointer: Address,
      file: string,
      line: number,
    ) => void,
    duplicate: crypto.func('uintptr_t CRYPTO_memdup(const void *, size_t, const char *, int)') as (
      data: Uint8Array,
      size: number,
      file: string,
      line: number,
    ) => Address,
    parseCertificate: crypto.func('uintptr_t d2i_X509(uintptr_t, uintptr_t, long)') as (
      into: Address,
      place: Address,
      length: number,
    ) => Address,
    freeCertificate: crypto.func('void X509_free(uintptr_t)') as (certificate: Address) => void,
    encodeCertificate: crypto.func('int i2d_X509(uintptr_t, uintptr_t)') as (
      certificate: Address,
      place: Address,
    ) => number,
    subjectOf: crypto.func('uintptr_t X509_get_subject_name(uintptr_t)') as (certificate: Address) => Address,
    parsePrivateKey: crypto.func('uintptr_t d2i_AutoPrivateKey(uintptr_t, uintptr_t, long)') as (
      into: Address,
      place: Address,
      length: number,
    ) => Address,
    freePrivateKey: crypto.func('void EVP_PKEY_free(uintptr_t)') as (key: Address) => void,
    addToStore: crypto.func('int X509_STORE_add_cert(uintptr_t, uintptr_t)') as (
      store: Address,
      certificate: Address,
    ) => number,
    duplicateName: crypto.func('uintptr_t X509_NAME_dup(uintptr_t)') as (name: Address) => Address,
    newMemoryBio: crypto.func('uintptr_t BIO_new(uintptr_t)') as (method: Address) => Address,
    memoryBioMethod: crypto.func('uintptr_t BIO_s_mem()') as () => Address,
    readBio: crypto.func('int BIO_read(uintptr_t, uintptr_t, int)') as (
      bio: Address,
      into: Address,
      size: number,
    ) => number,
    bytesRead: crypto.func('uint32_t BIO_number_read(uintptr_t)') as (bio: Address) => number,
    freeBio: crypto.func('int BIO_free(uintptr_t)') as (bio: Address) => number,
    printName: crypto.func('int X509_NAME_print_ex(uintptr_t, uintptr_t, int, unsigned long)') as (
      bio: Address,
      name: Address,
      indent: number,
      flags: number,
    ) => number,
    verifyErrorText: crypto.func('const char *X509_verify_cert_error_string(long)') as (
      code: number,
    ) => string,
    setVerifyIp: crypto.func('int X509_VERIFY_PARAM_set1_ip_asc(uintptr_t, const char *)') as (
      parameters: Address,
      address: string,
    ) => number,
    randomBytes: crypto.func('int RAND_bytes(uintptr_t, int)') as (into: Address, count: number) => number,
    fetchCipher: crypto.func('uintptr_t EVP_CIPHER_fetch(uintptr_t, const char *, uintptr_t)') as (
      library: Address,
      name: string,
      properties: Address,
    ) => Address,
    encryptInit: crypto.func(
      'int EVP_EncryptInit_ex(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t)',
    ) as CipherInit,
    decryptInit: crypto.func(
      'int EVP_DecryptInit_ex(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t)',
    ) as CipherInit,
    setMacParameters: crypto.func('int EVP_MAC_CTX_set_params(uintptr_t, uintptr_t)') as (
      context: Address,
      parameters: Address,
    ) => number,

    serverMethod: ssl.func('uintptr_t TLS_server_method()') as () => Address,
    clientMethod: ssl.func('uintptr_t TLS_client_method()') as () => Address,
    newContext: ssl.func('uintptr_t SSL_CTX_new(uintptr_t)') as (method: Address) => Address,
    freeContext: ssl.func('void SSL_CTX_free(uintptr_t)') as (context: Address) => void,
    contextControl: ssl.func('long SSL_CTX_ctrl(uintptr_t, int, long, uintptr_t)') as (
      context: Address,
      control: number,
      number: number,
      pointer: Address,
    ) => number,
    contextControlText: ssl.func('long SSL_CTX_ctrl(uintptr_t, int, long, const char *)') as (
      context: Address,
      control: number,
      number: number,
      text: string,
    ) => number,
    contextCallback: ssl.func('long SSL_CTX_callback_ctrl(uintptr_t, int, void *)') as (
      context: Address,
      control: number,
      callback: RegisteredCallback | null,
    ) => number,
    setOptions: ssl.func('uint64_t SSL_CTX_set_options(uintptr_t, uint64_t)') as (
      context: Address,
      options: bigint,
    ) => number,
    setCipherList: ssl.func('int SSL_CTX_set_cipher_list(uintptr_t, const char *)') as ContextText,
    setCipherSuites: ssl.func('int SSL_CTX_set_ciphersuites(uintptr_t, const char *)') as ContextText,
    setTimeout: ssl.func('long SSL_CTX_set_timeout(uintptr_t, long)') as (
      context: Address,
      seconds: number,
    ) => number,
    setTicketCount: ssl.func('int SSL_CTX_set_num_tickets(uintptr_t, size_t)') as (
      context: Address,
      count: number,
    ) => number,
    setReadBuffer: ssl.func('void SSL_CTX_set_default_read_buffer_len(uintptr_t, size_t)') as (
      context: Address,
      bytes: number,
    ) => void,
    setSessionIdContext: ssl.func(
      'int SSL_CTX_set_session_id_context(uintptr_t, const void *, unsigned int)',
    ) as (context: Address, data: Uint8Array, length: number) => number,
    useCertificate: ssl.func('int SSL_CTX_use_certificate(uintptr_t, uintptr_t)') as TwoAddresses,
    usePrivateKey: ssl.func('int SSL_CTX_use_PrivateKey(uintptr_t, uintptr_t)') as TwoAddresses,
    currentCertificate: ssl.func('uintptr_t SSL_CTX_get0_certificate(uintptr_t)') as (
      context: Address,
    ) => Address,
    certificateStore: ssl.func('uintptr_t SSL_CTX_get_cert_store(uintptr_t)') as (
      context: Address,
    ) => Address,
    useSystemAuthorities: ssl.func('int SSL_CTX_set_default_verify_paths(uintptr_t)') as (
      context: Address,
    ) => number,
    addClientAuthority: ssl.func('int SSL_CTX_add_client_CA(uintptr_t, uintptr_t)') as TwoAddresses,
    setVerify: ssl.func('void SSL_CTX_set_verify(uintptr_t, int, uintptr_t)') as (
      context: Address,
      mode: number,
      callback: Address,
    ) => void,
    setAlpnSelect: ssl.func('void SSL_CTX_set_alpn_select_cb(uintptr_t, void *, uintptr_t)') as (
      context: Address,
      callback: RegisteredCallback,
      argument: Address,
    ) => void,
    setAlpnOffer: ssl.func('int SSL_CTX_set_alpn_protos(uintptr_t, const void *, unsigned int)') as (
      context: Address,
      list: Uint8Array,
      length: number,
    ) => number,
    selectProtocol: ssl.func(
      'int SSL_select_next_proto(uintptr_t, uintptr_t, uintptr_t, unsigned int, uintptr_t, unsigned int)',
    ) as (
      out: Address,
      outLength: Address,
      ours: Address,
      oursLength: number,
      theirs: Address,
      theirsLength: number,
    ) => number,
    setTicketKeyCallback: ssl.func('int SSL_CTX_set_tlsext_ticket_key_evp_cb(uintptr_t, void *)') as (
      context: Address,
      callback: RegisteredCallback,
    ) => number,

    newSession: ssl.func('uintptr_t SSL_new(uintptr_t)') as (context: Address) => Address,
    freeSession: ssl.func('void SSL_free(uintptr_t)') as (session: Address) => void,
    setDescriptor: ssl.func('int SSL_set_fd(uintptr_t, int)') as (session: Address, fd: number) => number,
    readBioOf: ssl.func('uintptr_t SSL_get_rbio(uintptr_t)') as (session: Address) => Address,
    setAcceptState: ssl.func('void SSL_set_accept_state(uintptr_t)') as (session: Address) => void,
    setConnectState: ssl.func('void SSL_set_connect_state(uintptr_t)') as (session: Address) => void,
    handshake: ssl.func('int SSL_do_handshake(uintptr_t)') as (session: Address) => number,
    read: ssl.func('int SSL_read(uintptr_t, uintptr_t, int)') as Transfer,
    write: ssl.func('int SSL_write(uintptr_t, uintptr_t, int)') as Transfer,
    hasPending: ssl.func('int SSL_has_pending(uintptr_t)') as (session: Address) => number,
    errorOf: ssl.func('int SSL_get_error(uintptr_t, int)') as (session: Address, result: number) => number,
    shutdown: ssl.func('int SSL_shutdown(uintptr_t)') as (session: Address) => number,
    control: ssl.func('long SSL_ctrl(uintptr_t, int, long, uintptr_t)') as (
      session: Address,
      control: number,
      number: number,
      pointer: Address,
    ) => number,
    controlText: ssl.func('long SSL_ctrl(uintptr_t, int, long, const char *)') as (
      session: Address,
      control: number,
      number: number,
      text: string,
    ) => number,
    setContext: ssl.func('uintptr_t SSL_set_SSL_CTX(uintptr_t, uintptr_t)') as TwoAddresses,
    contextOf: ssl.func('uintptr_t SSL_get_SSL_CTX(uintptr_t)') as (session: Address) => Address,
    serverNameOf: ssl.func('const char *SSL_get_servername(uintptr_t, int)') as (
      session: Address,
      type: number,
    ) => string | null,
    versionOf: ssl.func('const char *SSL_get_version(uintptr_t)') as (session: Address) => string,
    isVersion13: ssl.func('int SSL_version(uintptr_t)') as (session: Address) => number,
    cipherOf: ssl.func('uintptr_t SSL_get_current_cipher(uintptr_t)') as (session: Address) => Address,
    cipherName: ssl.func('const char *SSL_CIPHER_get_name(uintptr_t)') as (cipher: Address) => string,
    wasResumed: ssl.func('int SSL_session_reused(uintptr_t)') as (session: Address) => number,
    peerCertificate: ssl.func('uintptr_t SSL_get1_peer_certificate(uintptr_t)') as (
      session: Address,
    ) => Address,
    ownCertificate: ssl.func('uintptr_t SSL_get_certificate(uintptr_t)') as (session: Address) => Address,
    verifyResult: ssl.func('long SSL_get_verify_result(uintptr_t)') as (session: Address) => number,
    setExpectedHost: ssl.func('int SSL_set1_host(uintptr_t, const char *)') as (
      session: Address,
      name: string,
    ) => number,
    verifyParameters: ssl.func('uintptr_t SSL_get0_param(uintptr_t)') as (session: Address) => Address,
    takeResumable: ssl.func('uintptr_t SSL_get1_session(uintptr_t)') as (session: Address) => Address,
    isResumable: ssl.func('int SSL_SESSION_is_resumable(uintptr_t)') as (resumable: Address) => number,
    freeResumable: ssl.func('void SSL_SESSION_free(uintptr_t)') as (resumable: Address) => void,
    resume: ssl.func('int SSL_set_session(uintptr_t, uintptr_t)') as TwoAddresses,
  };
}

type CipherInit = (context: number, cipher: number, engine: number, key: number, iv: number) => number;
type ContextText = (context: number, text: string) => number;
type TwoAddresses = (a: number, b: number) => number;
type Transfer = (session: number, address: number, size: number) => number;

/** The functions of OpenSSL that are used, under names of our own. */
export type Libssl = ReturnType<typeof load>;

/** What koffi.register gives. */
export type RegisteredCallback = ReturnType<typeof koffi.register>;

let loaded: Libssl | undefined;

/** OpenSSL, loaded at first use. Throws UnsupportedFeature when the machine has none. */
export function libssl(): Libssl {
  loaded ??= load();
  return loaded;
}

/** The reason of the oldest error in OpenSSL's queue, which is emptied; empty: there is none. */
export function takeSslError(): string {
  const ssl = libssl();
  const code = ssl.errorNext();
  if (code === 0) return '';
  const text = ssl.errorReason(code) ?? `error ${code.toString(16)}`;
  ssl.errorClear();
  return text;
}

const derMemory = fixedMemory(128 * 1024);
const derView = new DataView(derMemory.bytes.buffer);

/** Calls a d2i function with bytes of at most 127 KiB; 0: they are not what it parses. */
export function parseDer(
  parse: (into: number, place: number, length: number) => number,
  der: Uint8Array,
): number {
  if (der.length > derMemory.bytes.length - 16) return 0;
  derMemory.bytes.set(der, 16);
  derView.setBigUint64(0, BigInt(derMemory.address + 16), true);
  const parsed = parse(0, derMemory.address, der.length);
  derMemory.bytes.fill(0, 16, 16 + der.length);
  return parsed;
}

/** DER of an X509 that OpenSSL holds; empty when it is larger than 127 KiB. */
export function certificateDer(certificate: number): Buffer {
  const ssl = libssl();
  const size = ssl.encodeCertificate(certificate, 0);
  if (size <= 0 || size > derMemory.bytes.length - 16) return Buffer.alloc(0);
  derView.setBigUint64(0, BigInt(derMemory.address + 16), true);
  ssl.encodeCertificate(certificate, derMemory.address);
  return Buffer.from(derMemory.bytes.subarray(16, 16 + size));
}
