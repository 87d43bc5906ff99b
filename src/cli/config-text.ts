// What a configuration file of a mount says: the YAML (or JSON, which is YAML too) of /etc/pcache/NAME.yaml as settings, or what is wrong with it, each
// problem with its line and its key.
//
// Invariants:
// - Nothing is guessed: an unknown key, a value of the wrong kind and a key given twice are problems, and a file with a problem gives no settings.
// - A number is taken as it is written: `umask: 027` stays octal, whatever YAML makes of it.

import { isMap, isPair, isScalar, isSeq, LineCounter, parseDocument, type Pair, type Scalar, type YAMLMap } from 'yaml';
import { PcacheError } from '../errors.js';
import { logLevels, type LogLevel } from '../gateway/log-level.js';
import { mountOptionRows, parseMountOptions } from '../gateway/mount-options.js';
import { nearest } from '../gateway/nearest.js';

/** What one file says. Paths are absolute and as they were written. */
export interface MountConfig {
  cache: string;
  backing: string;
  mountpoint: string;
  /** As for `-o`, one each, each valid by itself. */
  options: string[];
  /** HOST:PORT. */
  metricsListen: string | undefined;
  /** `stderr`, `journal` or a path. */
  log: string | undefined;
  logLevel: LogLevel | undefined;
}

export interface ConfigProblem {
  /** From 1. */
  readonly line: number;
  /** KEY: WHY, or WHY alone if it is about no key. */
  readonly message: string;
  readonly hint?: string | undefined;
}

export interface ParsedConfig {
  /** Undefined if there are problems. */
  readonly config: MountConfig | undefined;
  /** In the order of the lines. */
  readonly problems: readonly ConfigProblem[];
}

interface KeyRow {
  readonly name: string;
  readonly isRequired: boolean;
  /** One line of a commented file. */
  readonly help: string;
}

/** Every key there is, in the order in which a file has them. */
export const configKeys: readonly KeyRow[] = [
  { name: 'cache', isRequired: true, help: 'The cache: a file or block device that `pcache format` made.' },
  { name: 'backing', isRequired: true, help: 'The slow device or file below.' },
  { name: 'mountpoint', isRequired: true, help: 'An empty directory, which gets volume.img, or an empty file, which becomes the volume.' },
  { name: 'options', isRequired: false, help: 'Mount options, as for -o: `pcache mount --help` lists them.' },
  { name: 'metrics_listen', isRequired: false, help: 'Serve the metrics for Prometheus at this address.' },
  { name: 'log', isRequired: false, help: 'Where the log goes: stderr, journal, or the path of a file.' },
  { name: 'log_level', isRequired: false, help: `How much is logged: ${logLevels.join(', ')}.` },
];

/** Parses the text of a file. Never throws for what is in it. */
export function parseConfig(text: string): ParsedConfig {
  return new ConfigReader(text).read();
}

class ConfigReader {
  readonly #text: string;
  readonly #lines = new LineCounter();
  readonly #problems: ConfigProblem[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  read(): ParsedConfig {
    const document = parseDocument(this.#text, { lineCounter: this.#lines, prettyErrors: false });
    for (const { pos, message } of [...document.errors, ...document.warnings]) this.#refuse(pos[0], messageOfYaml(message));
    if (this.#problems.length > 0) return this.#parsed(undefined);
    const { contents } = document;
    if (!isMap(contents)) {
      this.#refuse(
        0,
        contents === null ? 'the file is empty' : 'no keys with values: it must say `cache: ...`, `backing: ...`, `mountpoint: ...`',
      );
      return this.#parsed(undefined);
    }
    return this.#parsed(this.#readKeys(contents));
  }

  #parsed(config: MountConfig | undefined): ParsedConfig {
    const problems = [...this.#problems].sort((a, b) => a.line - b.line);
    return { config: problems.length === 0 ? config : undefined, problems };
  }

  #readKeys(map: YAMLMap): MountConfig {
    const config: MountConfig = {
      cache: '',
      backing: '',
      mountpoint: '',
      options: [],
      metricsListen: undefined,
      log: undefined,
      logLevel: undefined,
    };
    const seen = new Set<string>();
    for (const pair of map.items) {
      const key = this.#keyOf(pair);
      seen.add(key);
      switch (key) {
        case 'cache':
        case 'backing':
        case 'mountpoint':
          config[key] = this.#pathOf(key, pair);
          break;
        case 'options':
          config.options = this.#optionsOf(pair);
          break;
        case 'metrics_listen':
          config.metricsListen = this.#addressOf(key, pair);
          break;
        case 'log':
          config.log = this.#logOf(key, pair);
          break;
        case 'log_level':
          config.logLevel = this.#levelOf(key, pair);
          break;
        default:
          this.#refuseUnknown(key, pair);
      }
    }
    for (const { name, isRequired } of configKeys) {
      if (isRequired && !seen.has(name)) this.#refuse(this.#text.length, `${name}: missing`);
    }
    return config;
  }

  #refuseUnknown(key: string, pair: Pair): void {
    const names = configKeys.map(({ name }) => name);
    const guess = nearest(key, names);
    const isOption = mountOptionRows.some(({ name }) => name === key);
    const hint = isOption
      ? `It is a mount option: write it below options, as \`options: { ${key}: ... }\`.`
      : guess === undefined
        ? `There are ${names.join(', ')}.`
        : `Did you mean ${guess}?`;
    this.#refuse(placeOf(pair.key), `${key}: unknown key`, hint);
  }

  #keyOf(pair: Pair): string {
    return isScalar(pair.key) ? textOf(pair.key) : '?';
  }

  /** What a key has as its one value, as it is written; '' after saying what is wrong with it. */
  #valueOf(key: string, pair: Pair): string {
    const { value } = pair;
    if (isScalar(value) && value.value !== null && typeof value.value !== 'boolean') {
      const text = textOf(value);
      if (text !== '') return text;
    }
    const isBoolean = isScalar(value) && typeof value.value === 'boolean';
    const isMissing = value === null || (isScalar(value) && (value.value === null || value.value === ''));
    this.#refuse(placeOf(value ?? pair.key), `${key}: ${isMissing ? 'needs a value' : isBoolean ? 'not a text' : 'one value is wanted'}`);
    return '';
  }

  #pathOf(key: string, pair: Pair): string {
    const text = this.#valueOf(key, pair);
    if (text !== '' && !text.startsWith('/')) {
      this.#refuse(placeOf(pair.value), `${key}: ${text}: not an absolute path`, 'It must start with /, for it is used from any folder.');
    }
    return text;
  }

  #addressOf(key: string, pair: Pair): string {
    const text = this.#valueOf(key, pair);
    const port = /^(?:\[[\da-fA-F:.]+\]|[^:\s]+):(\d{1,5})$/.exec(text)?.[1];
    if (text !== '' && !(Number(port) >= 0 && Number(port) <= 65_535)) {
      this.#refuse(placeOf(pair.value), `${key}: ${text}: not HOST:PORT`, 'Such as 127.0.0.1:9464, or [::1]:9464.');
    }
    return text;
  }

  #logOf(key: string, pair: Pair): string {
    const text = this.#valueOf(key, pair);
    if (text !== '' && !['stderr', 'journal'].includes(text) && !text.startsWith('/')) {
      this.#refuse(placeOf(pair.value), `${key}: ${text}: neither stderr, nor journal, nor an absolute path`);
    }
    return text;
  }

  #levelOf(key: string, pair: Pair): LogLevel | undefined {
    const text = this.#valueOf(key, pair);
    const level = logLevels.find((each) => each === text);
    if (text !== '' && level === undefined) {
      const guess = nearest(text, logLevels);
      const hint = guess === undefined ? `There are ${logLevels.join(', ')}.` : `Did you mean ${guess}?`;
      this.#refuse(placeOf(pair.value), `${key}: ${text}: unknown level`, hint);
    }
    return level;
  }

  /** A map of names to values, a list, or the text of an `-o`. */
  #optionsOf(pair: Pair): string[] {
    const { value } = pair;
    if (value === null || (isScalar(value) && value.value === null)) return [];
    if (isMap(value)) return value.items.flatMap((item) => this.#optionOf(item));
    const nodes = isSeq(value) ? value.items : [value];
    const options: string[] = [];
    for (const node of nodes) {
      const isText = isScalar(node) && typeof node.value === 'string';
      if (isText)
        options.push(
          ...textOf(node)
            .split(',')
            .filter((text) => this.#isOption(text.trim(), node))
            .map((text) => text.trim()),
        );
      else if (isPair(node) || isMap(node))
        this.#refuse(placeOf(node), 'options: NAME=VALUE is wanted in a list', 'Or leave the dashes out.');
      else this.#refuse(placeOf(node), 'options: not a text');
    }
    return options.filter((text) => text !== '');
  }

  #optionOf(pair: Pair): string[] {
    const name = this.#keyOf(pair);
    const { value } = pair;
    const isFlag = mountOptionRows.some((row) => row.name === name && row.value === undefined);
    if (isFlag) {
      if (isScalar(value) && typeof value.value === 'boolean') return value.value ? [name] : [];
      this.#refuse(placeOf(value ?? pair.key), `options.${name}: true or false is wanted`);
      return [];
    }
    const isPlain = value === null || isScalar(value);
    if (!isPlain) {
      this.#refuse(placeOf(value), `options.${name}: one value is wanted`);
      return [];
    }
    const text = value === null || value.value === null ? name : `${name}=${textOf(value)}`;
    if (text.includes(',')) {
      this.#refuse(placeOf(value), `options.${name}: no comma can be in a value`);
      return [];
    }
    return this.#isOption(text, pair.key) ? [text] : [];
  }

  #isOption(text: string, node: unknown): boolean {
    try {
      parseMountOptions([text]);
      return true;
    } catch (error) {
      if (!(error instanceof PcacheError)) throw error;
      this.#refuse(placeOf(node), `options: ${error.message.replace(/^mount option /, '')}`, error.hint);
      return false;
    }
  }

  #refuse(offset: number, message: string, hint?: string): void {
    const { line } = this.#lines.linePos(offset);
    this.#problems.push({ line: Math.max(1, line), message, hint });
  }
}

/** Where a node begins, in characters of the file. */
function placeOf(node: unknown): number {
  const range = typeof node === 'object' && node !== null && 'range' in node ? node.range : undefined;
  return Array.isArray(range) && typeof range[0] === 'number' ? range[0] : 0;
}

function textOf(node: Scalar): string {
  const { value } = node;
  if (typeof value === 'string') return value;
  // A number or a date in the form in which it was written.
  return node.source ?? String(value);
}

/** YAML's errors name keys and characters; only the words of one that users meet often are put otherwise. */
function messageOfYaml(message: string): string {
  if (/^Map keys must be unique/.test(message)) return 'this key is given twice';
  return message.replaceAll(/\s*\n\s*/g, ' ').replace(/\.$/, '');
}
