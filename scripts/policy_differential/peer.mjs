// Answers cases of policy decisions (opentrail.testing.policy_cases), one JSON object a line, one answer a line.
// The evaluator is @cloud-copilot/iam-simulate, called through its public interface alone.

import { createInterface } from 'node:readline'
import { anonymousPrincipal, runSimulation } from '@cloud-copilot/iam-simulate'

const ACCOUNT = '111122223333'
const PRINCIPALS = {
  'user': `arn:aws:iam::${ACCOUNT}:user/alice`,
  'role session': `arn:aws:sts::${ACCOUNT}:assumed-role/auditor/today`,
  'federated user': `arn:aws:sts::${ACCOUNT}:federated-user/carol`,
  'root': `arn:aws:iam::${ACCOUNT}:root`,
  'service': 'cloudtrail.amazonaws.com',
  'anonymous': anonymousPrincipal
}
const ALLOW_ALL = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }

const named = (documents, kind) => documents.map((policy, index) => ({ name: `${kind} ${index}`, policy }))

function contextOf(context) {
  const multivalued = new Set(['aws:tagkeys', 'aws:principalorgpaths'])
  return Object.fromEntries(
    Object.entries(context).map(([key, values]) => [key, multivalued.has(key.toLowerCase()) ? values : values[0]])
  )
}

async function answer(each) {
  // The root user's right to its own account is no policy: the peer is told of it as one.
  const identity = each.principal === 'root' ? [ALLOW_ALL] : each.identity
  const found = await runSimulation(
    {
      request: {
        principal: PRINCIPALS[each.principal],
        action: each.action,
        resource: { resource: each.resource, accountId: each.owner },
        contextVariables: contextOf(each.context)
      },
      identityPolicies: named(identity, 'identity'),
      resourcePolicy: each.resourcePolicy ?? undefined,
      permissionBoundaryPolicies: each.boundary ? named([each.boundary], 'boundary') : undefined,
      sessionPolicy: each.session ?? undefined,
      serviceControlPolicies: each.serviceControl.map((level, index) => ({
        orgIdentifier: `level-${index}`,
        policies: named(level, 'control')
      })),
      resourceControlPolicies: []
    },
    { simulationMode: 'Strict' }
  )
  return found.resultType === 'error' ? `refused: ${JSON.stringify(found.errors)}` : found.overallResult
}

for await (const line of createInterface({ input: process.stdin })) {
  let text
  try {
    text = await answer(JSON.parse(line))
  } catch (error) {
    text = `error: ${error.message}`
  }
  process.stdout.write(`${text}\n`)
}
